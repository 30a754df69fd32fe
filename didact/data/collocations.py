"""Collocations: words that come together more often than their parts would by chance (Levine et al., 2021, §3 and §4).

    PMI(w1 … wn) = min over the ways to cut w1 … wn in parts, of  log p(w1 … wn) / Π p(part)

p of an n-gram being its share of all n-grams of its length. So an n-gram ranks high only where no cut explains it: "the
united states" is not one because "united states" is. Rankings of different lengths are not comparable: of the list,
one half are the best pairs, a quarter triples, and an eighth each runs of four and of five.

Counting goes up length by length, and looks only where both shorter n-grams inside occur often enough: what it holds is
about a hundred bytes a word of the corpus, whatever the number of distinct n-grams. N-grams do not cross documents.

Shapes: N words of the corpus, G n-grams of one length, n words of one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.data.stored import SplitName, Store
from didact.errors import InputError

Array = NDArray[Any]
Gram = tuple[tuple[int, ...], ...]
"""words, each its tokens"""
FORMAT = 1
SHARES = (0.5, 0.25, 0.125, 0.125)
COLUMNS = ("pmi", "count", "text", "tokens")


@dataclass(frozen=True)
class Collocation:
    """words: each its tokens; pmi: in nats; count: of occurrences."""

    words: Gram
    pmi: float
    count: int


@dataclass(frozen=True)
class Collocations:
    """entries: by length, then best first; tokenizer: the fingerprint of the one whose tokens these are; facts: what
    they were counted in and how.
    """

    entries: tuple[Collocation, ...]
    tokenizer: str
    facts: dict[str, Any] = field(default_factory=dict)


def collocations(
    store: Store,
    size: int = 800_000,
    *,
    longest: int = 5,
    least: int = 11,
    split: SplitName = "train",
    most_tokens: int = 50_000_000,
) -> Collocations:
    """The `size` best of a split of a store: those of 2 to `longest` words that occur `least` times or more, and more
    often than by chance.

    most_tokens: of a larger store, documents at even distances are read until they come to so many.
    """
    if not 2 <= longest <= 1 + len(SHARES):
        raise InputError(f"collocations of {longest} words", expected=f"2 to {1 + len(SHARES)}")
    documents = store.split(split)
    total = sum(stop - start for start, stop in map(store.document, documents.tolist()))
    documents = documents[:: -(-total // most_tokens) or 1]
    corpus = _Corpus.of(store, documents)
    levels = corpus.levels(longest, least)
    shares = np.array(SHARES[: longest - 1]) / sum(SHARES[: longest - 1])
    entries: list[Collocation] = []
    for n, share in zip(range(2, longest + 1), shares.tolist(), strict=True):
        entries += corpus.best(levels, n, round(size * share))
    facts = {"store": store.folder.name, "documents": len(documents), "words": len(corpus.word), "least": least}
    return Collocations(tuple(entries), store.fingerprint, facts)


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length. at (N,): the number of the one that begins at each word, -1 where it is too rare or
    would cross a document's end; first (G,): a word where each begins; counts (G,); log_p (G,).
    """

    at: Array
    first: Array
    counts: Array
    log_p: Array


@dataclass(frozen=True)
class _Corpus:
    """tokens: of all documents; starts (N + 1,): where each word begins; word (N,): its number; document (N,)."""

    tokens: Array
    starts: Array
    word: Array
    document: Array

    @staticmethod
    def of(store: Store, documents: Array) -> _Corpus:
        tokens, begins, sizes = [], [], []
        for number in documents.tolist():
            text = store.read(*store.document(number))
            tokens.append(text.tokens.astype(np.int32))
            begins.append(text.word_starts.copy())
            begins[-1][:1] = True
            sizes.append(int(begins[-1].sum()))
        every = np.concatenate(tokens) if tokens else np.zeros(0, np.int32)
        starts = np.flatnonzero(np.concatenate(begins)) if begins else np.zeros(0, np.int64)
        starts = np.append(starts, len(every))
        return _Corpus(every, starts, _numbered(every, starts), np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))

    def levels(self, longest: int, least: int) -> list[_Level]:
        """Of 1 to `longest` words."""
        levels: list[_Level] = []
        for n in range(1, longest + 1):
            inside = np.arange(max(0, len(self.word) - n + 1))
            inside = inside[self.document[inside] == self.document[inside + n - 1]]
            total = len(inside)
            if n == 1:
                keys = self.word.astype(np.int64)
            else:
                shorter = levels[-1].at
                inside = inside[(shorter[inside] >= 0) & (shorter[inside + 1] >= 0)]
                keys = shorter[inside].astype(np.int64) << 32 | self.word[inside + n - 1]
            _, first, number, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
            often = counts >= least
            renumbered = np.where(often, np.cumsum(often) - 1, -1).astype(np.int32)
            at = np.full(len(self.word), -1, np.int32)
            at[inside] = renumbered[number]
            counts = counts[often]
            levels.append(_Level(at, inside[first[often]], counts, np.log(counts / max(1, total))))
        return levels

    def best(self, levels: Sequence[_Level], n: int, most: int) -> list[Collocation]:
        """Those of n words with the highest PMI above 0; ties go to the more frequent, then to the earlier one."""
        level = levels[n - 1]
        pmi = level.log_p - _best_cut(levels, level.first, n)
        order = np.lexsort((level.first, -level.counts, -pmi))
        order = order[pmi[order] > 0][:most]
        return [
            Collocation(self._words(int(level.first[i]), n), float(pmi[i]), int(level.counts[i]))
            for i in order.tolist()
        ]

    def _words(self, first: int, n: int) -> Gram:
        borders = self.starts[first : first + n + 1].tolist()
        return tuple(tuple(self.tokens[a:b].tolist()) for a, b in pairwise(borders))


def _numbered(tokens: Array, starts: Array) -> Array:
    """(N,) int32: equal numbers for words of the same tokens; a word's number grows token by token."""
    sizes = np.diff(starts)
    ids = tokens[starts[:-1]].astype(np.int64)
    known = int(tokens.max(initial=0)) + 1
    longer = np.arange(len(ids))
    for place in range(1, int(sizes.max(initial=0))):
        longer = longer[sizes[longer] > place]
        pairs = ids[longer] << 32 | tokens[starts[longer] + place]
        distinct, number = np.unique(pairs, return_inverse=True)
        ids[longer] = known + number
        known += len(distinct)
    return np.unique(ids, return_inverse=True)[1].astype(np.int32)


def _best_cut(levels: Sequence[_Level], first: Array, n: int) -> Array:
    """(G,): the largest Σ log p(part) over all ways to cut the n-grams that begin at `first` in two or more parts."""

    def whole(begin: int, end: int) -> Array:
        level = levels[end - begin - 1]
        return level.log_p[level.at[first + begin]]

    best: dict[int, Array] = {n: np.zeros(len(first))}  # of the words from each on
    for begin in range(n - 1, -1, -1):
        ends = range(begin + 1, n + 1 if begin else n)
        best[begin] = np.max([whole(begin, end) + best[end] for end in ends], axis=0)
    return best[0]


def as_text(found: Collocations, store: Store) -> str:
    """One line each, after one that says what they are: for people to read, and for `read`."""
    lines = [json.dumps({"collocations": FORMAT, "tokenizer": found.tokenizer, **found.facts}), "\t".join(COLUMNS)]
    for entry in found.entries:
        text = " ".join(store.tokenizer.decode([t for word in entry.words for t in word]).split())
        tokens = "|".join(" ".join(map(str, word)) for word in entry.words)
        lines.append(f"{entry.pmi:.6f}\t{entry.count}\t{text}\t{tokens}")
    return "\n".join(lines) + "\n"


def read(path: Path) -> Collocations:
    """What `as_text` says. Raises InputError (file, row) on anything else."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError("no such file", file=path, expected="what `didact collocations` writes") from None
    except UnicodeDecodeError as problem:
        raise InputError(f"not UTF-8 ({problem.reason})", file=path) from problem
    except OSError as problem:
        raise InputError(
            f"cannot be read: {problem.strerror}", file=path, expected="what `didact collocations` writes"
        ) from None
    try:
        head = json.loads(lines[0])
        version, tokenizer = head.pop("collocations"), str(head.pop("tokenizer"))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InputError(
            "not a list of collocations", file=path, row=1, expected="one of `didact collocations`"
        ) from None
    if version != FORMAT:
        raise InputError(f"collocations of format {version!r}", file=path, row=1, expected=f"format {FORMAT}")
    entries = []
    for row, line in enumerate(lines[2:], 3):
        if line or row < len(lines):
            entries.append(_entry(line, path, row))
    return Collocations(tuple(entries), tokenizer, head)


def _entry(line: str, path: Path, row: int) -> Collocation:
    try:
        pmi, count, _, tokens = line.split("\t")
        words = tuple(tuple(int(token) for token in word.split(" ")) for word in tokens.split("|"))
        entry = Collocation(words, float(pmi), int(count))
    except ValueError:
        raise InputError(f"found {line!r}", file=path, row=row, expected=", ".join(COLUMNS)) from None
    if len(words) < 2 or min(token for word in words for token in word) < 0:
        raise InputError(f"found the words {tokens!r}", file=path, row=row, expected="two or more, of token ids")
    return entry
