"""Readers: a corpus -> its documents, in an order that is the same on every machine, streamed.

    documents("corpus/**/*.txt.xz")              all of them, one after the other
    shards(["a.jsonl", "b.parquet"], 64 << 20)   the same documents in pieces of work that pickle

A shard yields documents that begin in it; the shards' documents one after the other are the corpus's. Large plain files
are cut at documents, Parquet at row groups, hub data sets at their files; a compressed file is one shard.
Memory is bounded by `LONGEST` characters a document. Bytes that are not UTF-8, damaged or shortened compression and
columns that are not there stop the reading with file and row; what is empty is counted (`Counts`).

Layouts of plain text: "paragraphs", a paragraph a line and an empty line between documents; "lines", a document a line;
"sentences", a sentence a line and an empty line between documents (BERT's own format); "file", a document a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from didact.data import tables
from didact.data.document import LONGEST, Counts, Document
from didact.data.files import lines
from didact.data.sources import File, Hub, InstalledDocs, Source, resolve
from didact.errors import InputError

__all__ = ["Counts", "Document", "Layout", "Shard", "documents", "shards"]

Corpus = str | Path | Sequence[str | Path]
Layout = Literal["paragraphs", "lines", "sentences", "file"]
SHARD = 64 << 20
"""bytes of source in a shard"""


@dataclass(frozen=True)
class Shard:
    """A piece of a corpus. part: bytes [start, stop) of a plain file, row groups of a Parquet file, or (i, n) for the
    i-th of n pieces of a hub data set; None = all of it.
    """

    source: Source
    layout: Layout = "paragraphs"
    column: str = "text"
    part: tuple[int, int] | None = None

    def documents(self, counts: Counts | None = None) -> Iterator[Document]:
        """The documents that begin in this shard, in order. counts: is added to. Raises InputError."""
        counts = Counts() if counts is None else counts
        before = counts.documents
        for document in self._read(counts):
            if not document.text.strip():
                counts.empty += 1
                continue
            counts.cut += len(document.text) > LONGEST
            for part in document.parts(LONGEST):
                counts.documents += 1
                counts.characters += len(part.text)
                yield part
        if self.part is None or self.part[0] == 0:
            counts.files += 1
            counts.empty_files += counts.documents == before and self.part is None

    def _read(self, counts: Counts) -> Iterator[Document]:
        match self.source:
            case InstalledDocs():
                from didact.data import installed_docs

                return iter(installed_docs.documents())
            case Hub():
                return self._hub(self.source)
            case File(format="text"):
                return self._text(self.source, counts)
            case File(format="jsonl"):
                rows = tables.json_lines(self.source.path, *(self.part or (0, None)))
                return (self._document(self.source, row, fields, f"@{at}") for at, row, fields in rows)
            case File():
                rows = _rows(self.source, self.part)
                return (self._document(self.source, row, fields, f"#{row}") for row, fields in rows)

    def _document(self, source: File | Hub, row: int, fields: dict[str, Any], place: str) -> Document:
        """The column's text; null counts as empty; a list of texts is a document's sentences."""
        column = self.column if isinstance(source, File) else (source.column or self.column)
        file = source.path if isinstance(source, File) else f"hub:{source.name}"
        if column not in fields:
            found = f"columns {', '.join(map(str, fields))}" if fields else "no columns"
            raise InputError(found, file=file, row=row, expected=f"a column {column!r}")
        text = fields[column]
        id = f"{source.name}{place}"
        if text is None:
            return Document(id, "")
        if isinstance(text, list) and all(isinstance(t, str) for t in text):
            sentences = tuple(" ".join(t.split("\n")) for t in text if t.strip())
            return Document(id, "\n".join(sentences), sentences)
        if not isinstance(text, str):
            raise InputError(f"{type(text).__name__} in column {column!r}", file=file, row=row, expected="text")
        return Document(id, text.replace("\r\n", "\n"))

    def _text(self, source: File, counts: Counts) -> Iterator[Document]:
        start, stop = self.part or (0, None)
        if self.layout == "lines":
            for at, line in lines(source.path, start, stop):
                yield Document(f"{source.name}@{at}", line)
            return
        if self.layout == "file":
            for document in _blocks(source, lines(source.path), counts, whole=True):
                yield replace(document, breaks=False)
            return
        for document in _blocks(source, lines(source.path, start, stop), counts, whole=False):
            if self.layout == "sentences":
                sentences = tuple(document.text.split("\n"))
                yield replace(document, sentences=sentences)
            else:
                yield document

    def _hub(self, source: Hub) -> Iterator[Document]:
        first, n = self.part or (0, 1)
        for row, fields in source.rows(first, n):
            yield self._document(source, row, fields, f"#{first}.{row}" if n > 1 else f"#{row}")


def documents(
    corpus: Corpus, *, layout: Layout = "paragraphs", column: str = "text", counts: Counts | None = None
) -> Iterator[Document]:
    """The documents of a corpus, in order. Raises InputError, also where there is not one."""
    counts = Counts() if counts is None else counts
    before = counts.documents
    for shard in shards(corpus, layout=layout, column=column, counts=counts):
        yield from shard.documents(counts)
    if counts.documents == before:
        raise InputError(
            f"no document ({counts})", file=corpus if isinstance(corpus, str | Path) else ", ".join(map(str, corpus))
        )


def shards(
    corpus: Corpus,
    bytes_per_shard: int = SHARD,
    *,
    layout: Layout = "paragraphs",
    column: str = "text",
    counts: Counts | None = None,
) -> list[Shard]:
    """A corpus as pieces of about so many bytes. counts: is told of files that are not read."""
    if layout not in get_args(Layout):
        raise InputError(f"layout {layout!r}", expected=f"one of {', '.join(get_args(Layout))}")
    sources, unread = resolve(corpus)
    if counts is not None:
        counts.unread.extend(unread)
    found: list[Shard] = []
    for source in sources:
        parts = _parts(source, layout, bytes_per_shard)
        found.extend(Shard(source, layout, column, part) for part in parts)
    return found


def _parts(source: Source, layout: Layout, size: int) -> list[tuple[int, int] | None]:
    if isinstance(source, Hub):
        n = source.open().num_shards
        return [(i, n) for i in range(n)] if n > 1 else [None]
    if not isinstance(source, File) or source.compressed:
        return [None]
    total = source.path.stat().st_size
    if total <= size:
        return [None]
    if source.format == "parquet":
        return _row_groups(source.path, size)
    if source.format == "jsonl" or (source.format == "text" and layout != "file"):
        blocks = source.format == "text" and layout != "lines"
        cuts = [0]
        while cuts[-1] + size < total:
            cuts.append(_beginning(source.path, cuts[-1] + size, blocks))
        if cuts[-1] < total:
            cuts.append(total)
        return list(pairwise(cuts)) if len(cuts) > 2 else [None]
    return [None]


def _beginning(path: Path, at: int, blocks: bool) -> int:
    """The first byte from `at` on where a line begins; with blocks, the first such line after an empty one."""
    with path.open("rb") as file:
        file.seek(at - 1)
        file.readline()
        if not blocks:
            return file.tell()
        line = file.readline()
        while line.strip():
            line = file.readline()
        while line and not line.strip():
            at = file.tell()
            line = file.readline()
        return at if line else file.tell()


def _row_groups(path: Path, size: int) -> list[tuple[int, int] | None]:
    with tables.opened_parquet(path) as file:
        sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
    parts: list[tuple[int, int] | None] = []
    first = filled = 0
    for i, group in enumerate(sizes):
        if filled and filled + group > size:
            parts.append((first, i))
            first, filled = i, 0
        filled += group
    return [*parts, (first, len(sizes))] if parts else [None]


def _rows(source: File, part: tuple[int, int] | None) -> Iterator[tuple[int, dict[Any, Any]]]:
    """Rows of a CSV, TSV, JSON or Parquet file."""
    if source.format == "parquet":
        return tables.parquet(source.path, None if part is None else range(*part))
    if source.format == "json":
        return tables.json_objects(source.path, tables.json_file(source.path))
    return tables.delimited(source.path, quoted=source.format == "csv", header=True)


def _blocks(source: File, numbered: Iterator[tuple[int, str]], counts: Counts, whole: bool) -> Iterator[Document]:
    """Runs of lines between empty ones (or all lines, with the empty ones kept), given out early where they grow past
    `LONGEST` characters.
    """
    block: list[str] = []
    begin = size = 0
    for at, line in numbered:
        if not block:
            begin = at
        if line.strip() or (whole and block):
            block.append(line)
            size += len(line) + 1
        elif block:
            yield Document(f"{source.name}@{begin}", "\n".join(block))
            block, size = [], 0
        if size > LONGEST and len(block) > 1:
            last = block.pop()
            yield Document(f"{source.name}@{begin}", "\n".join(block))
            counts.cut += 1
            block, begin, size = [last], at, len(last) + 1
    if block:
        yield Document(f"{source.name}@{begin}", "\n".join(block).rstrip("\n"))
