"""Topic: which library does this text come from? Every library's names are taken out of every text.

The text is the documentation's prose alone: no code, no signature, no parameter names of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from didact.data.installed_docs.entries import Entry
from didact.data.installed_docs.libraries import LIBRARIES, Library
from didact.data.installed_docs.text import Mask, cut, paragraphs, sections

FEWEST_WORDS, MOST_CHARACTERS = 12, 360
PROSE_SECTIONS = frozenset(("", "notes", "note", "explanation", "description", "details"))


@dataclass(frozen=True)
class Topic:
    id: str
    text: str
    label: str


def mask_of(libraries: Iterable[Library] = LIBRARIES) -> Mask:
    """Takes out every name of every library of the list."""
    return Mask.of(name for library in libraries for name in library.given_away_by)


def topics(entries: Iterable[Entry], mask: Mask, seen: set[str] | None = None) -> Iterator[Topic]:
    """Entries with enough prose; one text for each opening of 60 characters, whatever the library.

    seen: openings that are taken already, added to.
    """
    seen = set() if seen is None else seen
    for entry in entries:
        if entry.kind == "readme":
            continue
        told = (p for s in sections(entry.doc) if s.title in PROSE_SECTIONS for p in paragraphs(s.body))
        text = cut(mask(" ".join(told)[: 2 * MOST_CHARACTERS]), MOST_CHARACTERS)
        opening = re.sub(r"\W+", "", text.lower())[:60]
        if len(text.split()) < FEWEST_WORDS or opening in seen:
            continue
        seen.add(opening)
        yield Topic(entry.id, text, entry.library)
