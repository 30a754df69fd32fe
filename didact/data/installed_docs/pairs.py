"""Pairs: does this description belong to this signature?

Hard negatives: the description of another callable of the same module. Each description and each signature is used
once under each label, so neither alone says anything; the literal name in the description would, and such entries are
left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from didact.data.installed_docs.entries import Entry
from didact.data.installed_docs.text import cut, summary

BELONGS, OTHER = "belongs", "other"
FEWEST_WORDS, MOST_CHARACTERS = 4, 300
LONGEST_SIGNATURE = 200  # characters
MOST_OF_A_MODULE = 20  # callables: what is said of one class's hundred methods is one example many times


@dataclass(frozen=True)
class Described:
    """A callable with what is said of it. id: the entry's."""

    id: str
    signature: str
    description: str


@dataclass(frozen=True)
class Pair:
    id: str
    signature: str
    description: str
    label: str


def described(entries: Iterable[Entry]) -> Iterator[Described]:
    """Those entries that have a signature and a description that does not repeat the name."""
    for entry in entries:
        if entry.kind in ("module", "readme") or not entry.signature:
            continue
        text = cut(summary(entry.doc), MOST_CHARACTERS)
        name = entry.name.rpartition(".")[2]
        if len(text.split()) < FEWEST_WORDS or len(entry.signature) > LONGEST_SIGNATURE or name.startswith("__"):
            continue
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
            continue
        yield Described(entry.id, entry.signature, text)


def pairs(module: Sequence[Entry], seen: set[str]) -> Iterator[Pair]:
    """The entries of one module -> two pairs for each callable: its own description, and that of the next one in an
    order fixed by a hash; at most MOST_OF_A_MODULE of them. A name and a signature count once in the module, a
    description's opening once in all.

    seen: openings that are taken already, added to.
    """
    members = sorted(described(module), key=lambda d: hashlib.sha256(d.id.encode()).digest())
    kept: list[Described] = []
    marks: set[str] = set()
    for one in members:
        if len(kept) == MOST_OF_A_MODULE:
            break
        own = {re.split(r"[.:]", one.id)[-1], one.signature}
        opening = re.sub(r"\W+", "", one.description.lower())[:60]
        if marks.isdisjoint(own) and opening not in seen:
            kept.append(one)
            marks |= own
            seen.add(opening)
    if len(kept) < 2:
        return
    for one, following in zip(kept, [*kept[1:], kept[0]], strict=True):
        yield Pair(one.id, one.signature, one.description, BELONGS)
        yield Pair(one.id, one.signature, following.description, OTHER)
