"""didact.tasks.edits: the distance against its recursive definition, the rates as all edits over all lengths."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from functools import cache

import pytest

from didact.tasks.edits import CER, WER, characters, distance, parted, rate


@cache
def defined(a: Sequence[str], b: Sequence[str]) -> int:
    """By the definition: the last symbols are matched, or one of them is inserted, deleted or replaced."""
    if not a or not b:
        return len(a) + len(b)
    return min(defined(a[:-1], b[:-1]) + (a[-1] != b[-1]), defined(a[:-1], b) + 1, defined(a, b[:-1]) + 1)


def test_every_pair_of_short_sequences() -> None:
    every = [t for n in range(5) for t in itertools.product("abc", repeat=n)]
    rng = random.Random(0)
    for a, b in [(a, b) for a in every[:40] for b in every[:40]] + [tuple(rng.choices(every, k=2)) for _ in range(500)]:
        assert distance(a, b) == defined(a, b)


def test_longer_ones() -> None:
    rng = random.Random(1)
    for _ in range(40):
        a, b = (tuple(rng.choices("abcd", k=rng.randint(0, 14))) for _ in range(2))
        assert distance(a, b) == defined(a, b) == distance(b, a)


def test_rates_are_over_the_whole_set() -> None:
    written, right = ["the cat", "", "a b"], [("the cats sat",), ("x",), ("a b c d", "a b")]
    edits = [5, 1, 0]
    assert CER(written, right) == pytest.approx(sum(edits) / (12 + 1 + 3))
    assert WER(written, right) == pytest.approx((2 + 1 + 0) / (3 + 1 + 2))
    assert not WER.higher
    assert WER(["a b c d"], [("a",)]) == 3.0  # more was inserted than is there


def test_phonemes() -> None:
    per = rate("per", parted("|"))
    assert per(["HH | AH0 |L"], [("HH|AH0|L|OW1",)]) == pytest.approx(1 / 4)
    assert rate("per", parted(" "))(["HH AH0"], [("HH  AH1 ",)]) == pytest.approx(1 / 2)


def test_white_space_does_not_count() -> None:
    assert characters(" a \n b ") == "a b"
    assert CER([" 我 走了\n"], [("我 走了",)]) == 0
