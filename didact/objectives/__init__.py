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
from didact.objectives.contrastive import Contrastive
from didact.objectives.corruption import Corruption
from didact.objectives.corruptions import Delete, Insert, Mask, Replace, Sentinels
from didact.objectives.denoised import Denoised
from didact.objectives.distilled import Distilled
from didact.objectives.forced import Forced
from didact.objectives.fragments import Fragment, Segments, Suffix
from didact.objectives.infill import Infill
from didact.objectives.masked import Masked
from didact.objectives.mass import Mass
from didact.objectives.mixed import Mixed, ul2
from didact.objectives.permuted import Permuted
from didact.objectives.prefix_lm import PrefixLM
from didact.objectives.related import NextSentence, SentenceOrder
from didact.objectives.reorder import PermuteSentences, Rotate, Shuffle
from didact.objectives.replaced import Replaced
from didact.objectives.select import InContext, NGrams, Select, Spans, Tokens, WholeWords
from didact.objectives.span_corruption import SpanCorruption
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
    Contrastive,
    Forced,
    PrefixLM,
    Denoised,
    SpanCorruption,
    Mass,
    Mixed,
    Combined,
)
SELECTS: tuple[type[Select], ...] = (
    Tokens,
    WholeWords,
    Spans,
    NGrams,
    InContext,
    PMISpans,
    Segments,
    Fragment,
    Suffix,
)
CORRUPTIONS: tuple[type[Corruption], ...] = (
    Mask,
    Replace,
    Delete,
    Insert,
    Infill,
    Sentinels,
    PermuteSentences,
    Rotate,
    Shuffle,
)

__all__ = [
    "CORRUPTIONS",
    "OBJECTIVES",
    "SELECTS",
    "BidirectionalLM",
    "Causal",
    "Combined",
    "Contrastive",
    "Corruption",
    "Delete",
    "Denoised",
    "Distilled",
    "Forced",
    "Fragment",
    "InContext",
    "Infill",
    "Insert",
    "Mask",
    "Masked",
    "Mass",
    "Mixed",
    "NGrams",
    "NextSentence",
    "Objective",
    "PMISpans",
    "PermuteSentences",
    "Permuted",
    "PrefixLM",
    "Replace",
    "Replaced",
    "Rotate",
    "Segments",
    "Select",
    "SentenceOrder",
    "Sentinels",
    "Shuffle",
    "SpanCorruption",
    "Spans",
    "Suffix",
    "Tokens",
    "UniLM",
    "WholeWords",
    "from_json",
    "to_json",
    "ul2",
]


def to_json(thing: Objective | Select | Corruption) -> dict[str, Any]:
    """{"kind": …, field: value …}; parts, selections and corruptions likewise, tuples as lists."""
    return {"kind": thing.kind} | {f.name: _plain(getattr(thing, f.name)) for f in dataclasses.fields(thing)}


def from_json(data: Mapping[str, Any]) -> Objective:
    """The objective that `to_json` wrote. Raises InputError on an unknown kind or field."""
    return _read(data, OBJECTIVES)


def _plain(value: Any) -> Any:
    if isinstance(value, Objective | Select | Corruption):
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
        return _read(value, OBJECTIVES + SELECTS + CORRUPTIONS)
    return tuple(_value(v) for v in value) if isinstance(value, list | tuple) else value
