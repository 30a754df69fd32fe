"""Spans written as tags: BIO and its relatives, and the F1 of whole spans (CoNLL-2000/2003; conlleval).

A tag is "O", or a prefix and a type ("B-PER"). One table says, for a tag and the one before it, whether a span starts;
another, for a tag and the one after it, whether it ends. Lenient reading (conlleval's, and the default) accepts any
mixture of prefixes; a strict reading of a scheme counts only spans that the scheme can write. A span is right where
its first word, its last word and its type all are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from didact.tasks.metrics import Floats, Metric, f_score, summed

Scheme = Literal["lenient", "IOB1", "IOB2", "BIOES"]
SCHEMES: tuple[Scheme, ...] = ("lenient", "IOB1", "IOB2", "BIOES")
Span = tuple[int, int, str]

PREFIXES = ("B", "I", "O", "E", "S", "L", "U")
_ALIAS = {"L": "E", "U": "S"}  # BILOU's letters for BIOES's


def split_tag(tag: str) -> tuple[str, str]:
    """ "B-PER" -> ("B", "PER"); "O" -> ("O", ""). BILOU's L and U become E and S."""
    prefix, _, kind = tag.partition("-")
    return _ALIAS.get(prefix, prefix), kind


def are_spans(tags: Iterable[str]) -> bool:
    """Whether a set of tags is written as spans: each "O" or a prefix and a type, and not all of them "O"."""
    tags = set(tags) - {"O"}
    return bool(tags) and all(tag[:1] in PREFIXES and tag[1:2] == "-" for tag in tags)


def spans(tags: Sequence[str]) -> list[Span]:
    """[(first word, one past the last, type)] by the lenient reading: a span starts at B or S, at any tag after O or
    after an E or S, and where the type changes; it ends before such a tag and before O.
    """
    found: list[Span] = []
    start, kind, before = -1, "", "O"
    for i, tag in enumerate([*tags, "O"]):
        prefix, this = split_tag(tag)
        if start >= 0 and (prefix in "OBS" or before in "ES" or this != kind):
            found.append((start, i, kind))
            start = -1
        if start < 0 and prefix != "O":
            start, kind = i, this
        before = prefix
    return found


def strict_spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """[(first word, one past the last, type)]: only the spans that the (not lenient) scheme can write.

    IOB1: a run of I of one type; B only where the span before it, touching, has the same type. IOB2: B I*. BIOES:
    S, or B I* E. Anything else is not a span.
    """
    pieces = [split_tag(tag) for tag in tags]
    found: list[Span] = []
    i = 0
    while i < len(pieces):
        prefix, kind = pieces[i]
        previous = pieces[i - 1] if i else ("O", "")
        end = _end(pieces, i, scheme) if _starts(prefix, kind, previous, scheme) else None
        if end is None:
            i += 1
        else:
            found.append((i, end, kind))
            i = end
    return found


def _starts(prefix: str, kind: str, previous: tuple[str, str], scheme: Scheme) -> bool:
    if scheme == "IOB2":
        return prefix == "B"
    if scheme == "BIOES":
        return prefix in ("B", "S")
    touching = previous[0] in ("B", "I") and previous[1] == kind
    return prefix == "I" or (prefix == "B" and touching)


def _end(pieces: Sequence[tuple[str, str]], start: int, scheme: Scheme) -> int | None:
    prefix, kind = pieces[start]
    if scheme == "BIOES" and prefix == "S":
        return start + 1
    end = start + 1
    while end < len(pieces) and pieces[end] == ("I", kind):
        end += 1
    if scheme != "BIOES":
        return end
    return end + 1 if end < len(pieces) and pieces[end] == ("E", kind) else None


def span_f1(scheme: Scheme = "lenient") -> Metric:
    """Micro F1 of spans; the unit is the sentence: right spans, predicted spans, gold spans."""

    def read(tags: Sequence[str]) -> set[Span]:
        return set(spans(tags) if scheme == "lenient" else strict_spans(tags, scheme))

    def units(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> Floats:
        rows = [(read(p), read(g)) for p, g in zip(predicted, gold, strict=True)]
        return np.array([[len(p & g), len(p), len(g)] for p, g in rows], np.float64).reshape(-1, 3)

    return Metric("span_f1", units, summed(lambda sums: f_score(sums[..., 0], sums[..., 1], sums[..., 2])))
