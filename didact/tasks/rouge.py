"""ROUGE-N, ROUGE-L and ROUGE-Lsum (Lin, 2004): the overlap of a text with what should have been written, as F1.

The figures are those of the package rouge-score without stemming, which papers quote; that package is the tests'
oracle. Of several references the one with the best F1 counts; a set's score is the mean over its texts.

Shapes: n and m tokens of two texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, cast

import numpy as np

from didact.errors import InputError
from didact.tasks.metrics import Metric, share

Tokens = list[str]
Split = Callable[[str], Tokens]
Words = Literal["english", "any"]
Kind = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
_ENGLISH = re.compile(r"[a-z0-9]+")
_ANY = re.compile(r"[^\W_]+")
_EACH = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts that put no spaces between words


def english(text: str) -> Tokens:
    """Runs of a to z and digits, lower-cased: rouge-score's tokens. Other letters part words and count for nothing."""
    return _ENGLISH.findall(text.lower())


def any_script(text: str) -> Tokens:
    """Runs of letters, digits and their marks, lower-cased; in scripts without spaces every character."""
    found: Tokens = []
    for run in _ANY.findall(unicodedata.normalize("NFC", text.lower())):
        start = 0
        for i, character in enumerate(run):
            if unicodedata.name(character, "").startswith(_EACH):
                found += [run[start:i], character] if i > start else [character]
                start = i + 1
        found += [run[start:]] if start < len(run) else []
    return found


SPLITS: dict[Words, Split] = {"english": english, "any": any_script}


def rouge(kind: Kind, words: Words = "english") -> Metric:
    """kind: which; words: "english", as rouge-score has them, or "any" script's.

    Its `units` raise InputError for a reference without a single such word: nothing could ever overlap with it.
    """
    split = SPLITS[words]
    compare = {"rougeL": _longest, "rougeLsum": _summary}.get(kind, _ngrams(kind))

    def one(text: str, references: Sequence[str]) -> float:
        for right in references:
            if not split(right):
                raise InputError(
                    f"{kind}: {right[:60]!r} has no word of the kind {words!r}",
                    expected="rouge_words: any, or no ROUGE",
                )
        return max(compare(text, right, split) for right in references)

    return share(kind, one)


def _ngrams(kind: str) -> Callable[[str, str, Split], float]:
    def score(text: str, right: str, split: Split) -> float:
        n = int(kind.removeprefix("rouge"))
        own, wanted = (Counter(zip(*(t[i:] for i in range(n)), strict=False)) for t in (split(text), split(right)))
        return _f1((own & wanted).total(), own.total(), wanted.total())

    return score


def _longest(text: str, right: str, split: Split) -> float:
    own, wanted = split(text), split(right)
    return _f1(int(_table(wanted, own)[-1, -1]), len(own), len(wanted))


def _summary(text: str, right: str, split: Split) -> float:
    """Lines are sentences. Of each line of the reference, the words that a longest common subsequence with any line of
    the text holds; each word of either side counts once.
    """
    own, wanted = ([split(line) for line in t.split("\n") if line] for t in (text, right))
    left, asked = (Counter(word for line in lines for word in line) for lines in (own, wanted))
    total = left.total(), asked.total()
    hits = 0
    for line in wanted:
        for i in sorted({i for other in own for i in _common(line, other)}):
            word = line[i]
            if left[word] > 0 and asked[word] > 0:
                hits += 1
                left[word] -= 1
                asked[word] -= 1
    return _f1(hits, *total)


def _table(a: Tokens, b: Tokens) -> np.ndarray:
    """(n + 1, m + 1): the length of a longest common subsequence of every two beginnings."""
    table = np.zeros((len(a) + 1, len(b) + 1), np.int64)
    numbers = {word: i for i, word in enumerate(dict.fromkeys((*a, *b)))}
    columns = np.array([numbers[word] for word in b], np.int64)
    for i, word in enumerate(a):
        here = np.where(columns == numbers[word], table[i, :-1] + 1, table[i, 1:])
        np.maximum.accumulate(here, out=table[i + 1, 1:])
    return table


def _common(a: Tokens, b: Tokens) -> list[int]:
    """Places in a of one longest common subsequence: the one that rouge-score finds (ties go up the table)."""
    table = _table(a, b)
    i, j, found = len(a), len(b), cast(list[int], [])
    while i and j:
        if a[i - 1] == b[j - 1]:
            found.append(i - 1)
            i, j = i - 1, j - 1
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return found


def _f1(common: int, own: int, wanted: int) -> float:
    """Harmonic mean of common / own and common / wanted."""
    return 2 * common / (own + wanted) if common else 0.0
