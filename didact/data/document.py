"""Document: one text of a corpus, its sentences where the corpus says them, and the count of what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from didact.data import sentences as splitter

LONGEST = 1 << 22
"""characters; a longer document is cut into several, at line breaks or else at white space or else anywhere"""


@dataclass(frozen=True)
class Document:
    """id: file and place in it, the same on every machine; text: line ends are "\\n".

    sentences: the sentences, where the corpus has them one by one; the text is then these, joined by line breaks.
    breaks: every line break of the text ends a sentence (False: lines are wrapped to a width).
    """

    id: str
    text: str
    sentences: tuple[str, ...] | None = None
    breaks: bool = True

    def spans(self) -> list[tuple[int, int]]:
        """[start, end) characters of each sentence, as the corpus has them or else by `didact.data.sentences`."""
        if self.sentences is None:
            return splitter.split(self.text, self.breaks)
        spans, at = [], 0
        for sentence in self.sentences:
            spans.append((at, at + len(sentence)))
            at += len(sentence) + 1
        return spans

    def parts(self, longest: int = LONGEST) -> Iterator[Document]:
        """The document itself, or where it is longer than `longest` characters its parts, "id/1", "id/2" …"""
        if len(self.text) <= longest:
            yield self
            return
        at = number = 0
        while at < len(self.text):
            cut = _place(self.text, at, at + longest)
            text = self.text[at:cut].strip("\n")
            if text.strip():
                number += 1
                lines = None if self.sentences is None else tuple(line for line in text.split("\n") if line.strip())
                yield Document(f"{self.id}/{number}", text if lines is None else "\n".join(lines), lines, self.breaks)
            at = cut


def _place(text: str, start: int, limit: int) -> int:
    """Where to cut a text that goes on past `limit`."""
    if limit >= len(text):
        return len(text)
    for mark in ("\n", " "):
        if (found := text.rfind(mark, start + 1, limit)) > 0:
            return found
    return limit


@dataclass
class Counts:
    """What a reader met. documents: yielded; empty: without a character but white space, left out; cut: longer than
    `LONGEST` and yielded in parts; characters: of what was yielded; files: read to the end, empty_files: without a
    document; unread: files of a folder in no format known here, by name.
    """

    documents: int = 0
    empty: int = 0
    cut: int = 0
    characters: int = 0
    files: int = 0
    empty_files: int = 0
    unread: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Add what another reader met."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    def __str__(self) -> str:
        parts = [f"{self.documents:,} documents, {self.characters:,} characters from {self.files:,} files"]
        if self.empty:
            parts.append(f"{self.empty:,} empty ones left out")
        if self.cut:
            parts.append(f"{self.cut:,} longer than {LONGEST:,} characters cut")
        if self.empty_files:
            parts.append(f"{self.empty_files:,} files without a document")
        if self.unread:
            shown = ", ".join(self.unread[:5]) + (" …" if len(self.unread) > 5 else "")
            parts.append(f"{len(self.unread):,} files in no known format not read ({shown})")
        return "; ".join(parts)
