"""Edit-distance rates: insertions, deletions and substitutions (Levenshtein, 1966) over the length of what is right, of
characters, words, or tokens of any kind (phonemes).

The rate of a set is all edits over all lengths, as speech recognition has it, so that a long text counts for more.

Shapes: n and m symbols of two sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from didact.tasks.metrics import Floats, Metric, ratio, summed

Split = Callable[[str], Sequence[Hashable]]


def distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The least number of insertions, deletions and substitutions that make b of a."""
    if len(a) < len(b):
        a, b = b, a
    numbers = {symbol: i for i, symbol in enumerate(dict.fromkeys((*a, *b)))}
    row_symbols = np.array([numbers[symbol] for symbol in b], np.int64)
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for symbol in a:
        kept = row[:-1] + (row_symbols != numbers[symbol])
        best = np.minimum(row + 1, np.concatenate(([row[0] + 1], kept)))
        row = np.minimum.accumulate(best - steps) + steps  # what can be had by inserting after a better place
    return int(row[-1])


def rate(name: str, split: Split) -> Metric:
    """Edits over symbols of the reference; of several references, the one with the least such share. May exceed 1."""

    def units(predicted: Sequence[str], gold: Sequence[Sequence[str]]) -> Floats:
        return np.array([_edits(p, g, split) for p, g in zip(predicted, gold, strict=True)], np.float64).reshape(-1, 2)

    return Metric(name, units, summed(ratio), higher=False)


def _edits(text: str, references: Sequence[str], split: Split) -> tuple[int, int]:
    """(edits, symbols of the reference)."""
    own = split(text)
    found = [(distance(own, right), len(right)) for right in map(split, references)]
    return min(found, key=lambda pair: pair[0] / max(1, pair[1]))


def characters(text: str) -> Sequence[str]:
    """Its characters (code points), runs of white space being one space and none at the ends."""
    return " ".join(text.split())


def words(text: str) -> Sequence[str]:
    """What white space parts."""
    return text.split()


def parted(separator: str) -> Split:
    """What this separator parts, white space around it left out ("" = white space)."""
    if not separator.strip():
        return words
    return lambda text: [part.strip() for part in text.split(separator) if part.strip()]


CER = rate("cer", characters)
WER = rate("wer", words)
