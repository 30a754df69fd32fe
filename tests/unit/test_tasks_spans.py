"""Spans of tags against seqeval."""

from __future__ import annotations

from itertools import pairwise

import pytest
import seqeval.metrics as oracle
from seqeval import scheme as schemes
from seqeval.metrics.sequence_labeling import get_entities

from didact.randomness import generator
from didact.tasks.spans import SCHEMES, are_spans, span_f1, spans, strict_spans

TAGS = {
    "IOB1": ("O", "B-X", "I-X", "B-Y", "I-Y"),
    "IOB2": ("O", "B-X", "I-X", "B-Y", "I-Y"),
    "BIOES": ("O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"),
}
ORACLE = {"IOB1": schemes.IOB1, "IOB2": schemes.IOB2, "BIOES": schemes.IOBES}


def sentences(tags: tuple[str, ...], seed: int, n: int = 300) -> list[list[str]]:
    rng = generator(seed, 0)
    return [[tags[i] for i in rng.integers(len(tags), size=rng.integers(1, 9))] for _ in range(n)]


@pytest.mark.parametrize("scheme", TAGS)
def test_lenient_reading_is_conlleval_s(scheme: str) -> None:
    for tags in sentences(TAGS[scheme], 0):
        assert [(kind, a, b - 1) for a, b, kind in spans(tags)] == get_entities(tags)


@pytest.mark.parametrize("scheme", TAGS)
def test_strict_reading(scheme: str) -> None:
    for tags in sentences(TAGS[scheme], 1):
        # seqeval's IOB1 forgets a one-word span of B before a B of another type: its end pattern (B, B) is of one type
        if scheme == "IOB1" and any(a[0] == b[0] == "B" and a != b for a, b in pairwise(tags)):
            continue
        found = schemes.Tokens(tags, ORACLE[scheme]).entities
        assert strict_spans(tags, scheme) == [(e.start, e.end, e.tag) for e in found]  # type: ignore[arg-type]


def test_bilou_letters() -> None:
    assert spans(["B-X", "I-X", "L-X", "U-Y", "O", "U-X"]) == [(0, 3, "X"), (3, 4, "Y"), (5, 6, "X")]
    assert strict_spans(["B-X", "L-X", "U-Y", "L-X"], "BIOES") == [(0, 2, "X"), (2, 3, "Y")]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_f1(scheme: str) -> None:
    tags = TAGS["IOB2" if scheme == "lenient" else scheme]
    predicted, gold = sentences(tags, 2), sentences(tags, 2)
    rng = generator(3, 0)
    predicted = [[tags[rng.integers(len(tags))] if rng.random() < 0.3 else t for t in s] for s in gold]
    if scheme == "lenient":
        expected = oracle.f1_score(gold, predicted)
    else:
        expected = oracle.f1_score(gold, predicted, mode="strict", scheme=ORACLE[scheme])
    tolerance = 0.02 if scheme == "IOB1" else 1e-12  # see the note on seqeval's IOB1 above
    assert span_f1(scheme)(predicted, gold) == pytest.approx(expected, abs=tolerance)  # type: ignore[arg-type]


def test_nothing_found_and_nothing_there() -> None:
    assert span_f1()([["O", "O"]], [["O", "O"]]) == 0.0


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("O", "B-X", "I-X"), True),
        (("I-X", "O"), True),
        (("NOUN", "VERB"), False),
        (("O",), False),
        (("-LRB-", "IN"), False),
    ],
)
def test_are_spans(tags: tuple[str, ...], expected: bool) -> None:
    assert are_spans(tags) is expected
