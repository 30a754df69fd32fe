"""The heads: one file each, named in one tuple; to and from JSON by their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from didact.errors import InputError
from didact.heads.base import Head, HeadLayers
from didact.heads.choice import Choice
from didact.heads.classes import Classes
from didact.heads.embedding import EmbeddingHead, Projection
from didact.heads.gate import Gate
from didact.heads.matching import Matching
from didact.heads.pair_relation import PairRelation
from didact.heads.replaced import Replacement
from didact.heads.span import Span
from didact.heads.state import State
from didact.heads.vocabulary import Vocabulary

HEADS: tuple[type[Head], ...] = (
    Vocabulary,
    Classes,
    Matching,
    Span,
    PairRelation,
    Choice,
    EmbeddingHead,
    Projection,
    Gate,
    Replacement,
    State,
)

__all__ = [
    "HEADS",
    "Choice",
    "Classes",
    "EmbeddingHead",
    "Gate",
    "Head",
    "HeadLayers",
    "Matching",
    "PairRelation",
    "Projection",
    "Replacement",
    "Span",
    "State",
    "Vocabulary",
    "from_json",
    "to_json",
]


def to_json(head: Head) -> dict[str, Any]:
    """{"kind": …, field: value …}; tuples become lists."""
    fields = {f.name: getattr(head, f.name) for f in dataclasses.fields(head)}
    return {"kind": head.kind} | {n: list(v) if isinstance(v, tuple) else v for n, v in fields.items()}


def from_json(data: Mapping[str, Any]) -> Head:
    """The head that `to_json` wrote. Raises InputError on an unknown kind or field."""
    kinds = {head.kind: head for head in HEADS}
    if data.get("kind") not in kinds:
        raise InputError(f"head of kind {data.get('kind')!r}", expected=f"one of {', '.join(kinds)}")
    head = kinds[data["kind"]]
    known = {f.name for f in dataclasses.fields(head)}
    if unknown := sorted(set(data) - known - {"kind"}):
        raise InputError(f"head {head.kind!r} with {', '.join(unknown)}", expected=f"only {', '.join(sorted(known))}")
    values = {n: tuple(v) if isinstance(v, list) else v for n, v in data.items() if n != "kind"}
    try:
        return head(**values)
    except (TypeError, ValueError) as problem:
        raise InputError(f"head {head.kind!r}: {problem}") from None
