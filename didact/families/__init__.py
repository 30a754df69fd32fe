"""The families: one file each, named in one tuple."""

from __future__ import annotations

from didact.errors import InputError
from didact.families.base import Architecture, Family
from didact.families.bert import BERT

FAMILIES: tuple[Family, ...] = (BERT,)

__all__ = ["BERT", "FAMILIES", "Architecture", "Family", "by_name"]


def by_name(name: object, file: object = None) -> Family:
    """The family of this name (its `model_type`). Raises InputError."""
    for family in FAMILIES:
        if family.name == name:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise InputError(f"model_type {name!r}", file=None if file is None else str(file), expected=f"one of {known}")
