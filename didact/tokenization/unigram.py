"""Training of a unigram language model of pieces (Kudo, 2018, "Subword regularization", §3.2), the same on every run.

Departure: words are segmented by the best path, not by all paths weighed (hard instead of soft EM), so that all sums
are of integers. The trainer of `tokenizers` sums floats in the order of a randomly seeded hash map, and among pieces
that are worth the same its vocabulary differs from run to run. `tokenizers` still does the segmenting.

Shapes: P pieces, W words, n characters of all words end to end.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models

LONGEST_PIECE = 16
MOST_CHARACTERS = 4_000_000
"""of distinct words, the most frequent first; rarer words are not learned from"""
SEEDS = 4
"""pieces to begin with, for each one wanted"""
KEEP = 0.6
"""share of the pieces that a round of pruning leaves (SentencePiece: 0.75, which takes longer and ends no better)"""
_UNKNOWN = "\0"


def learn_pieces(words: Counter[str], alphabet: list[str], size: int) -> list[tuple[str, float]]:
    """Pieces and their log-probabilities, most probable first: `size` of them, or all that the words have.

    words: how often each occurs; alphabet: characters that are always pieces; other characters are unknown.
    """
    chosen = _most_frequent(words)
    counts = np.array([words[w] for w in chosen], np.int64)
    characters = set(alphabet)
    seeds = _frequent_substrings(chosen, counts, characters, SEEDS * size)
    pieces = sorted(characters) + [piece for piece, _ in seeds]
    worth = np.array([1] * len(characters) + [worth for _, worth in seeds], np.int64)
    scores = _log_probabilities(worth)
    while True:
        used = worth
        for _ in range(2):
            used = _counted(pieces, scores, chosen, counts)
            kept = [i for i, n in enumerate(used.tolist()) if n > 0 or len(pieces[i]) == 1]
            pieces, used = [pieces[i] for i in kept], used[kept]
            scores = _log_probabilities(used)
        if len(pieces) <= size:
            break
        loss = used * (scores - _without(pieces, scores))
        loss[[len(piece) == 1 for piece in pieces]] = np.inf
        wanted = max(size, int(KEEP * len(pieces)))
        best = sorted(range(len(pieces)), key=lambda i: (-loss[i], pieces[i]))[:wanted]
        best.sort()
        pieces, scores = [pieces[i] for i in best], scores[best]
    order = sorted(range(len(pieces)), key=lambda i: (-used[i], pieces[i]))
    return [(pieces[i], round(float(scores[i]), 6)) for i in order]


def _most_frequent(words: Counter[str]) -> list[str]:
    """As many words as MOST_CHARACTERS allows, most frequent first, equal ones by their letters."""
    chosen, total = [], 0
    for word in sorted(words, key=lambda w: (-words[w], w)):
        total += len(word)
        if total > MOST_CHARACTERS and chosen:
            break
        chosen.append(word)
    return chosen


def _frequent_substrings(
    words: list[str], counts: NDArray[np.int64], characters: set[str], most: int
) -> list[tuple[str, int]]:
    """Substrings of 2 to 16 characters that occur twice or more, and frequency × length of each, the largest first."""
    text = "".join(words)
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = np.array([len(w) for w in words])
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(text))  # characters to the end of the word
    weight = np.repeat(counts, lengths)
    known = np.isin(points, [ord(c) for c in characters])
    found: list[tuple[str, int]] = []
    hashes = points.copy()
    alive = known.copy()
    for n in range(2, LONGEST_PIECE + 1):
        alive[: len(text) - n + 1] &= known[n - 1 :]
        alive &= left >= n
        hashes[: len(text) - n + 1] = hashes[: len(text) - n + 1] * np.uint64(0x9E3779B97F4A7C15) + points[n - 1 :]
        at = np.flatnonzero(alive)
        if not len(at):
            break
        _, first, inverse = np.unique(hashes[at], return_index=True, return_inverse=True)
        frequency = np.bincount(inverse, weights=weight[at]).astype(np.int64)
        often = frequency >= 2
        alive[at] = often[inverse]  # a substring that is rare has no frequent one around it
        here = [(text[i : i + n], int(f) * n) for i, f in zip(at[first[often]].tolist(), frequency[often], strict=True)]
        here.sort(key=lambda seed: (-seed[1], seed[0]))
        found.extend(here[:most])
    found.sort(key=lambda seed: (-seed[1], seed[0]))
    return found[:most]


def _counted(
    pieces: list[str], scores: NDArray[np.float64], words: list[str], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(P,) how often each piece is on the best path of the words."""
    vocabulary = [(_UNKNOWN, 0.0), *zip(pieces, scores.tolist(), strict=True)]
    model = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=0))
    used = np.zeros(len(pieces) + 1, np.int64)
    for begin in range(0, len(words), 100_000):
        encodings = model.encode_batch_fast(words[begin : begin + 100_000], add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int64, int(lengths.sum()))
        np.add.at(used, ids, np.repeat(counts[begin : begin + 100_000], lengths))
    return used[1:]


def _log_probabilities(used: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rounded, so that no processor's last digit counts; a character that no path uses counts half."""
    return np.round(np.log(np.maximum(used, 0.5)) - np.log(max(1, used.sum())), 9)


def _without(pieces: list[str], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) the score of each piece's best segmentation into other pieces; its own score for single characters."""
    number = {piece: i for i, piece in enumerate(pieces)}
    lengths = np.array([len(piece) for piece in pieces])
    table = np.append(scores, -np.inf)
    best = np.full((len(pieces), LONGEST_PIECE + 1), -np.inf)
    best[:, 0] = 0.0
    for stop in range(1, LONGEST_PIECE + 1):
        rows = np.flatnonzero(lengths >= stop)
        for start in range(stop):
            here = rows if start else rows[lengths[rows] > stop]  # the whole piece is not one of the others
            ids = [number.get(pieces[i][start:stop], -1) for i in here.tolist()]
            best[here, stop] = np.maximum(best[here, stop], best[here, start] + table[ids])
    alone = lengths == 1
    return np.where(alone, scores, best[np.arange(len(pieces)), lengths])
