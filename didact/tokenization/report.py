"""How well a vocabulary fits a text: pieces a word, what it cannot spell, which frequent words it has to cut."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from didact.tokenization import whole_words
from didact.tokenization.encoded import Encoded
from didact.tokenization.sample import Sample, cut_runs
from didact.tokenization.tokenizer import Tokenizer

MEASURED = 2_000_000
"""bytes of the sample that the report is measured on"""
_CUT_WORDS = 20


@dataclass(frozen=True)
class Report:
    """kind, vocabulary: of the tokenizer; texts, size: of the sample learned from (bytes), of_texts, of_size: of the
    corpus. On the first MEASURED bytes of the sample: fertility: tokens a word, of words with letters or digits;
    bytes_per_token; coverage: share of characters that is not inside an unknown token; unknown: share of tokens that
    are; cut_words: the most frequent words that are not one piece, how often each occurs, and how it is cut.
    seconds: taken; peak_memory: of the process so far in bytes, None where the system does not say.
    """

    kind: str
    vocabulary: int
    texts: int
    size: int
    of_texts: int
    of_size: int
    fertility: float
    bytes_per_token: float
    coverage: float
    unknown: float
    cut_words: tuple[tuple[str, int, tuple[str, ...]], ...]
    seconds: float
    peak_memory: int | None

    def __str__(self) -> str:
        memory = "" if self.peak_memory is None else f", peak memory {self.peak_memory / 2**20:,.0f} MiB"
        lines = [
            f"{self.kind}, {self.vocabulary:,} pieces",
            f"learned from {self.texts:,} of {self.of_texts:,} texts, {self.size / 1e6:,.1f} of "
            f"{self.of_size / 1e6:,.1f} MB, in {self.seconds:,.1f} s{memory}",
            f"fertility  {self.fertility:6.3f} tokens a word",
            f"           {self.bytes_per_token:6.3f} bytes a token",
            f"coverage   {self.coverage:8.4%} of characters",
            f"unknown    {self.unknown:8.4%} of tokens",
        ]
        if self.cut_words:
            lines.append("most frequent words that are not one piece:")
            width = max(len(word) for word, _, _ in self.cut_words)
            lines += [f"  {word:<{width}} {times:>8,}  {' '.join(cut)}" for word, times, cut in self.cut_words]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Tally:
    """sums by name; cut: how often each word that is not one piece occurs; ways: how it is cut."""

    sums: Counter[str]
    cut: Counter[str]
    ways: dict[str, tuple[str, ...]]


def measure(tokenizer: Tokenizer, taken: Sample, started: float) -> Report:
    """The report on a tokenizer learned from a sample; started: when, by `time.monotonic`."""
    tally = _Tally(Counter(), Counter(), {})
    left = MEASURED
    batch: list[str] = []
    for text in taken.texts:
        batch.append(cut_runs(text[:left]))
        left -= len(text.encode())
        if left <= 0 or len(batch) == 256:
            for seen, encoded in zip(batch, tokenizer.encode_many(batch), strict=True):
                _count(tally, tokenizer, seen, encoded)
            batch = []
        if left <= 0:
            break
    for seen, encoded in zip(batch, tokenizer.encode_many(batch), strict=True):
        _count(tally, tokenizer, seen, encoded)
    sums, cut, ways = tally.sums, tally.cut, tally.ways
    worst = sorted(cut, key=lambda w: (-cut[w], w))[:_CUT_WORDS]
    return Report(
        kind=tokenizer.kind,
        vocabulary=tokenizer.vocabulary,
        texts=len(taken.texts),
        size=taken.size,
        of_texts=taken.seen,
        of_size=taken.seen_size,
        fertility=sums["pieces"] / max(1, sums["words"]),
        bytes_per_token=sums["bytes"] / max(1, sums["tokens"]),
        coverage=1 - sums["lost"] / max(1, sums["characters"]),
        unknown=sums["unknown"] / max(1, sums["tokens"]),
        cut_words=tuple((word, cut[word], ways[word]) for word in worst),
        seconds=time.monotonic() - started,
        peak_memory=peak_memory(),
    )


def _count(tally: _Tally, tokenizer: Tokenizer, text: str, encoded: Encoded) -> None:
    """Add one text. Tokens of white space alone are no pieces of a word."""
    if not len(encoded) or encoded.offsets is None:
        return
    kinds = whole_words.classes(whole_words.codes(text))
    seen = np.cumsum(np.concatenate([[0], kinds != whole_words.SPACE]))  # characters that are not space, before each
    start, end = encoded.offsets.T
    sizes = seen[end] - seen[start]
    wrong = encoded.tokens == (-1 if tokenizer.unk is None else tokenizer.unk)
    word = whole_words.number(encoded.word_starts)
    pieces = np.bincount(word, weights=sizes > 0).astype(np.int64)
    opening = np.flatnonzero((sizes > 0) & (np.diff(np.where(sizes > 0, word, -1), prepend=-1) != 0))
    opening = opening[np.unique(word[opening], return_index=True)[1]]  # the first visible token of each word
    first = np.searchsorted(seen, seen[start[opening]], side="right") - 1  # and its first visible character
    letters = np.isin(kinds[first], (whole_words.WORD, whole_words.UNSPACED))
    tally.sums.update(
        bytes=len(text.encode()),
        tokens=len(encoded),
        unknown=int(wrong.sum()),
        characters=int(seen[-1]),
        lost=int(sizes[wrong].sum()),
        words=int(letters.sum()),
        pieces=int(pieces[word[opening[letters]]].sum()),
    )
    last = np.append(np.flatnonzero(np.diff(word)), len(word) - 1)
    for i, begin in zip(opening[letters].tolist(), first[letters].tolist(), strict=True):
        number = word[i]
        if pieces[number] > 1:
            written = text[begin : end[last[number]]]
            tally.cut[written] += 1
            if written not in tally.ways:
                tally.ways[written] = tuple(tokenizer.tokens(encoded.tokens[i : last[number] + 1]))


def peak_memory() -> int | None:
    """The most memory this process has held, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
