"""What a corpus is made of: files, folders, globs and hub data sets, in one order on every machine.

A corpus is named by a string, or by several: a file; a folder, read through by name; a glob (`**` too);
`hub:NAME[:CONFIG][:SPLIT][#COLUMN]`, a data set of the Hugging Face hub (or its local folder), streamed;
`installed-docs`, the documentation of the installed Python packages.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from didact.data.files import compression, stem
from didact.errors import InputError

Format = Literal["text", "jsonl", "json", "csv", "tsv", "parquet"]
SUFFIXES: tuple[tuple[str, Format], ...] = (
    (".txt", "text"),
    (".text", "text"),
    (".jsonl", "jsonl"),
    (".ndjson", "jsonl"),
    (".json", "json"),
    (".csv", "csv"),
    (".tsv", "tsv"),
    (".parquet", "parquet"),
)
INSTALLED_DOCS = "installed-docs"


@dataclass(frozen=True)
class File:
    """A file of a corpus. name: what ids of its documents begin with, relative to the folder that was named."""

    path: Path
    name: str
    format: Format

    @property
    def compressed(self) -> bool:
        return compression(self.path) is not None


@dataclass(frozen=True)
class Hub:
    """A data set of the hub. config, split, column: as its name says them, None where it says nothing."""

    name: str
    config: str | None = None
    split: str | None = None
    column: str | None = None

    def open(self) -> Any:
        """The streaming data set (`datasets.IterableDataset`). Raises InputError where it cannot be had."""
        import datasets

        try:
            found = datasets.load_dataset(self.name, self.config, split=self.split, streaming=True)
        except Exception as problem:  # datasets and the hub raise many kinds
            reason = _first_line(problem)
            raise InputError(f"the data set cannot be opened: {reason}", file=f"hub:{self.name}") from problem
        if isinstance(found, dict):
            if self.split is not None or not found:
                raise InputError("no split", file=f"hub:{self.name}")
            if len(found) > 1 and "train" not in found:
                raise InputError(
                    "no split named",
                    file=f"hub:{self.name}",
                    expected=f"hub:NAME:SPLIT, one of {', '.join(map(str, found))}",
                )
            return found["train"] if "train" in found else next(iter(found.values()))
        return found

    def rows(self, piece: int = 0, pieces: int = 1) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row from 1, fields) of one of so many pieces of the data set, streamed. Raises InputError."""
        data = self.open()
        row = 0
        try:
            for fields in data.shard(num_shards=pieces, index=piece) if pieces > 1 else data:
                row += 1
                yield row, fields
        except (OSError, ValueError, ArithmeticError, LookupError) as problem:  # pyarrow's own are among them
            if isinstance(problem, InputError):
                raise
            raise InputError(
                f"cannot be read: {_first_line(problem)}", file=f"hub:{self.name}", row=row + 1
            ) from problem


@dataclass(frozen=True)
class InstalledDocs:
    """The documentation of the Python packages installed here."""


Source = File | Hub | InstalledDocs


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


def format_of(path: Path) -> Format | None:
    """By the suffix before that of a compression; None where it says nothing."""
    return dict(SUFFIXES).get(stem(path).suffix.lower())


def resolve(corpus: str | Path | Sequence[str | Path]) -> tuple[list[Source], list[str]]:
    """The sources of a corpus in order, and the files of folders that are in no known format and so not read.

    Raises InputError where something named is not there. A file named by itself, or by a glob, in no known format is
    plain text. Hidden files and folders of a folder are not part of it.
    """
    sources: list[Source] = []
    unread: list[str] = []
    named = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    if not named:
        raise InputError("no corpus", expected="a file, a folder, a glob, hub:NAME or installed-docs")
    for name in named:
        if name == INSTALLED_DOCS:
            sources.append(InstalledDocs())
        elif isinstance(name, str) and name.startswith("hub:"):
            sources.append(hub(name))
        else:
            sources.extend(_files(Path(name).expanduser(), unread))
    return sources, unread


def hub(name: str) -> Hub:
    """`hub:NAME[:CONFIG][:SPLIT][#COLUMN]`; with one part after the name it is the split, with two CONFIG may be ""."""
    place, _, column = name.removeprefix("hub:").partition("#")
    parts = place.split(":")
    if not parts[0] or len(parts) > 3:
        raise InputError(f"found {name!r}", expected="hub:NAME[:CONFIG][:SPLIT][#COLUMN]")
    config = parts[1] or None if len(parts) == 3 else None
    split = parts[-1] or None if len(parts) > 1 else None
    return Hub(parts[0], config, split, column or None)


def _files(path: Path, unread: list[str]) -> Iterator[File]:
    if path.is_file():
        yield File(path, path.name, format_of(path) or "text")
    elif path.is_dir():
        found = []
        for inner in sorted(path.rglob("*"), key=lambda p: p.relative_to(path).parts):
            parts = inner.relative_to(path).parts
            if any(part.startswith(".") for part in parts) or not inner.is_file():
                continue
            if (format := format_of(inner)) is None:
                unread.append("/".join(parts))
            else:
                found.append(File(inner, "/".join(parts), format))
        if not found:
            raise InputError("no file to read in this folder", file=path, expected=", ".join(s for s, _ in SUFFIXES))
        yield from found
    else:
        matches = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
        if not matches:
            raise InputError("no such file", file=path, expected="a file, a folder, a glob, hub:NAME or installed-docs")
        for match in matches:
            yield File(match, _relative(match, path), format_of(match) or "text")


def _relative(match: Path, pattern: Path) -> str:
    """The part of the path from the glob's first wild card on, so that ids do not depend on where a corpus lies."""
    fixed = 0
    for part in pattern.parts:
        if any(c in part for c in "*?["):
            break
        fixed += 1
    return "/".join(match.parts[min(fixed, len(match.parts) - 1) :])
