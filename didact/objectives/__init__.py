"""The objectives: one file each, named in one tuple; to and from JSON by their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from didact.errors import InputError
from didact.objectives.base import Objective
from didact.objectives.bidirectional_lm import BidirectionalLM
from didact.objectives.causal import Causal
from didact.objectives.collocated import PMISpans
from didact.objectives.combined import Combined
from didact.objectives.distilled import Distilled
from didact.objectives.forced import Forced
from didact.objectives.masked import Masked
from didact.objectives.permuted import Permuted
from didact.objectives.related import NextSentence, SentenceOrder
from didact.objectives.replaced import Replaced
from didact.objectives.select import InContext, NGrams, Select, Spans, Tokens, WholeWords
from didact.objectives.unilm import UniLM

OBJECTIVES: tuple[type[Objective], ...] = (
    Masked,
    Causal,
    Permuted,
    NextSentence,
    SentenceOrder,
    UniLM,
    Replaced,
    Distilled,
    BidirectionalLM,
    Forced,
    Combined,
)
SELECTS: tuple[type[Select], ...] = (Tokens, WholeWords, Spans, NGrams, InContext, PMISpans)

__all__ = [
    "OBJECTIVES",
    "SELECTS",
    "BidirectionalLM",
    "Causal",
    "Combined",
    "Distilled",
    "Forced",
    "InContext",
    "Masked",
    "NGrams",
    "NextSentence",
    "Objective",
    "PMISpans",
    "Permuted",
    "Replaced",
    "Select",
    "SentenceOrder",
    "Spans",
    "Tokens",
    "UniLM",
    "WholeWords",
    "from_json",
    "to_json",
]


def to_json(thing: Objective | Select) -> dict[str, Any]:
    """{"kind": …, field: value …}; parts and selections likewise, tuples as lists."""
    return {"kind": thing.kind} | {f.name: _plain(getattr(thing, f.name)) for f in dataclasses.fields(thing)}


def from_json(data: Mapping[str, Any]) -> Objective:
    """The objective that `to_json` wrote. Raises InputError on an unknown kind or field."""
    return _read(data, OBJECTIVES)


def _plain(value: Any) -> Any:
    if isinstance(value, Objective | Select):
        return to_json(value)
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _read(data: Mapping[str, Any], known: tuple[type[Any], ...]) -> Any:
    kinds = {cls.kind: cls for cls in known}
    if data.get("kind") not in kinds:
        raise InputError(f"an objective of kind {data.get('kind')!r}", expected=f"one of {', '.join(kinds)}")
    cls = kinds[data["kind"]]
    fields = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - fields - {"kind"}):
        raise InputError(f"{data['kind']!r} with {', '.join(unknown)}", expected=f"only {', '.join(sorted(fields))}")
    return cls(**{name: _value(v) for name, v in data.items() if name != "kind"})


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _read(value, OBJECTIVES + SELECTS)
    return tuple(_value(v) for v in value) if isinstance(value, list | tuple) else value
