"""All installed documentation, extracted by several processes, de-duplicated by content and cached by fingerprint."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import zstandard

from didact.data.installed_docs.entries import Entry, entries_of, read_source
from didact.data.installed_docs.libraries import Installed, fingerprint, installed
from didact.worker import Worker, pipes

Chunk = Sequence[tuple[str, str, Path]]  # (library, module, file)
Parsed = tuple[list[Entry], list[str]]  # entries, and files that failed with their reason
FEWEST_WORDS = 3  # shorter documentation says nothing
FEWEST_LETTERS = 0.5  # share of letters and spaces below which a text is a table or a drawing, not language


@dataclass(frozen=True)
class Extraction:
    """entries in a fixed order (library of the list, file, line); counts: files read, files that failed by reason,
    entries dropped by reason; versions: {library: version}; fingerprint: of these."""

    entries: tuple[Entry, ...]
    counts: dict[str, int]
    versions: dict[str, str]
    fingerprint: str
    failures: tuple[str, ...] = field(default=())

    @property
    def characters(self) -> int:
        return sum(len(entry.doc) for entry in self.entries)


def extract(cache: Path | None = None, search: Sequence[str] | None = None, processes: int | None = None) -> Extraction:
    """The documentation of the installed libraries of the list, read from their source.

    cache: folder in which the result is kept, one file per fingerprint; None reads everything anew (about half a
    minute on two cores); search: folders instead of `sys.path`; processes: None = the CPUs this process may use,
    at most 4. The result does not depend on it.
    """
    libraries = installed(search)
    mark = fingerprint(libraries)
    kept = None if cache is None else cache / f"installed-docs-{mark}.jsonl.zst"
    if kept is not None and kept.exists():
        return _read(kept, mark)
    made = _extract(libraries, mark, processes)
    if kept is not None:
        _write(made, kept)
    return made


def _extract(libraries: Sequence[Installed], mark: str, processes: int | None) -> Extraction:
    jobs = [(i.library.name, module, path) for i in libraries for path, module in i.files()]
    chunks = [jobs[start : start + 50] for start in range(0, len(jobs), 50)]
    counts: Counter[str] = Counter({"files": len(jobs)})
    failures: list[str] = []
    kept: list[Entry] = []
    seen: set[bytes] = set()
    for entries, failed in _in_order(chunks, processes or min(4, _cpus())):
        counts["files_failed"] += len(failed)
        failures += failed
        for entry in entries:
            _keep(entry, kept, seen, counts)
    for found in libraries:
        for entry in _readme(found):
            _keep(entry, kept, seen, counts)
    counts["entries"] = len(kept)
    versions = {i.library.name: i.version for i in libraries}
    return Extraction(tuple(kept), dict(counts), versions, mark, tuple(failures))


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _keep(entry: Entry, kept: list[Entry], seen: set[bytes], counts: Counter[str]) -> None:
    counts["found"] += 1
    if len(entry.doc.split()) < FEWEST_WORDS:
        counts["dropped_short"] += 1
    elif sum(c.isalpha() or c.isspace() for c in entry.doc) < FEWEST_LETTERS * len(entry.doc):
        counts["dropped_not_language"] += 1
    elif (content := entry.content) in seen:
        counts["dropped_repeated"] += 1
    else:
        seen.add(content)
        kept.append(entry)


def _in_order(chunks: Sequence[Chunk], processes: int) -> Iterator[Parsed]:
    """Every chunk parsed, in order. Worker i of n takes chunks i, i + n, …"""
    if processes <= 1 or len(chunks) <= 1:
        yield from map(_parse_files, chunks)
        return
    workers: list[Worker] = []
    try:
        for first in range(min(processes, len(chunks))):
            workers.append(Worker(__name__, "a process that reads sources"))
            workers[-1].send(chunks[first::processes])
        for number in range(len(chunks)):
            yield workers[number % len(workers)].receive()
    finally:
        for worker in workers:
            worker.close()


def serve() -> None:
    """A worker's life: parse the chunks that come in, one answer each. Run by `_in_order` in a new process."""
    question, answer = pipes()
    for chunk in question():
        answer(_parse_files(chunk))


def _parse_files(jobs: Chunk) -> Parsed:
    entries: list[Entry] = []
    failed: list[str] = []
    collecting = gc.isenabled()
    gc.disable()  # a syntax tree is a million objects without a cycle: looking for one doubles the time
    try:
        for library, module, path in jobs:
            try:
                entries += entries_of(read_source(path), library, module)
            except (SyntaxError, ValueError, OSError, RecursionError) as error:
                failed.append(f"{module}: {type(error).__name__}: {error}")
    finally:
        if collecting:
            gc.enable()
    return entries, failed


def _readme(found: Installed) -> Iterator[Entry]:
    """The long description that a distribution carries in its METADATA."""
    if found.library.distribution is None:
        return
    place = str(found.roots[0].parent)
    for one in metadata.distributions(name=found.library.distribution, path=[place]):
        text = str(one.metadata.json.get("description", "")).strip()
        if text:
            yield Entry(found.library.name, f"{found.library.packages[0]}.README", "", "readme", "", text, "")
        return


def _write(made: Extraction, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    head = {"counts": made.counts, "versions": made.versions, "failures": made.failures}
    with aside.open("wb") as raw, zstandard.ZstdCompressor(level=3).stream_writer(raw) as packed:
        for told in (head, *map(asdict, made.entries)):
            packed.write(json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    os.replace(aside, path)


def _read(path: Path, mark: str) -> Extraction:
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as unpacked:
        lines = io.TextIOWrapper(unpacked, encoding="utf-8", errors="surrogatepass")
        head = json.loads(next(lines))
        entries = tuple(_entry(json.loads(line)) for line in lines)
    return Extraction(entries, head["counts"], head["versions"], mark, tuple(head["failures"]))


def _entry(told: dict[str, Any]) -> Entry:
    outer = tuple((name, role) for name, role in told.pop("outer"))
    return Entry(**told, outer=outer)


def checksum(entries: Sequence[Entry]) -> str:
    """sha256 over every entry, in order: equal where two extractions are equal."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(json.dumps(asdict(entry)).encode())
    return digest.hexdigest()
