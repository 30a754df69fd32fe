"""The writing side of a store: chunks appended to its files in order, and notes of where one could go on.

A note (progress.json) holds the length of every file as it was when a document had just ended; what was written after
it is cut off when the building goes on.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from didact.data.chunks import Chunk, Tokenized
from didact.data.stored import ESCAPE, FILES, path_of
from didact.errors import InputError

PROGRESS = "progress.json"
LOCK = "lock"


@dataclass
class State:
    """Where the building stands, to be continued: all of progress.json but the settings."""

    documents_read: int = 0
    source_bytes: int = 0
    tokens: int = 0
    sentences: int = 0
    documents: int = 0
    dropped: int = 0
    bits: int = 0  # word-start bits that do not fill an octet yet
    digest: str = ""  # of all documents read, to know them again
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FILES, 0))

    @staticmethod
    def load(folder: Path, settings: dict[str, Any]) -> State:
        path = folder / PROGRESS
        if not path.exists():
            return State()
        noted = json.loads(path.read_text(encoding="utf-8"))
        if noted.pop("settings") != settings:
            raise InputError(
                "a store begun with another tokenizer or other settings",
                file=folder,
                expected="the same, or a new folder",
            )
        return State(**noted)


class Writer:
    """The open files of a store. Appends chunks in order."""

    def __init__(self, folder: Path, state: State, tokens: np.dtype[Any]) -> None:
        self.folder, self.state, self.token_type = folder, state, tokens
        self.noted = copy.deepcopy(state)  # as it was when a document last ended: where one can go on
        self.files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Writer:
        for name in FILES:
            path = path_of(self.folder, name)
            path.touch()
            file = path.open("r+b")
            file.truncate(self.state.sizes[name])
            file.seek(0, os.SEEK_END)
            self.files[name] = file
        return self

    def __exit__(self, *_error: object) -> None:
        for file in self.files.values():
            file.close()

    def write(self, chunk: Chunk, new: Tokenized) -> None:
        """Append one chunk."""
        state = self.state
        self._put("tokens", new.tokens.astype(self.token_type, copy=False))
        waiting = state.tokens % 8
        bits = np.concatenate(
            [np.unpackbits(np.array([state.bits], np.uint8), bitorder="little")[:waiting], new.word_starts]
        )
        whole = len(bits) // 8 * 8
        self._put("word_starts", np.packbits(bits[:whole], bitorder="little"))
        state.bits = int(np.packbits(bits[whole:], bitorder="little")[0]) if whole < len(bits) else 0
        escaped = np.flatnonzero(new.source_bytes >= ESCAPE)
        self._put("source_bytes", np.minimum(new.source_bytes, ESCAPE).astype(np.uint8))
        self._put("escapes", np.stack([escaped + state.tokens, new.source_bytes[escaped]], axis=1).astype("<i8"))
        self._put("sentences", (new.sentences + state.tokens).astype("<i8"))
        full = new.sentences_of > 0
        before = np.cumsum(new.sentences_of) - new.sentences_of
        self._put("documents", (before[full] + state.sentences).astype("<i8"))
        self._put("validation", np.array(chunk.held_out, np.uint8)[full])
        state.dropped += int((~full).sum())
        state.documents += int(full.sum())
        state.sentences += len(new.sentences)
        state.tokens += len(new.tokens)
        state.source_bytes += chunk.source_bytes
        state.documents_read, state.digest = chunk.read, chunk.digest
        if chunk.closed:
            self.noted = copy.deepcopy(state)

    def finish(self) -> None:
        """Close the last document and the tables."""
        state = self.state
        if state.tokens % 8:
            self._put("word_starts", np.array([state.bits], np.uint8))
        self._put("sentences", np.array([state.tokens], "<i8"))
        self._put("documents", np.array([state.sentences], "<i8"))
        self._sync()

    def save(self, settings: dict[str, Any]) -> None:
        """Note where the building stands; what is written after it is cut off again if it is never noted."""
        self._sync()
        write_aside(self.folder / PROGRESS, json.dumps({**asdict(self.noted), "settings": settings}))

    def _put(self, name: str, values: np.ndarray[Any, Any]) -> None:
        self.files[name].write(np.ascontiguousarray(values).data)
        self.state.sizes[name] += values.nbytes

    def _sync(self) -> None:
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())


def write_aside(path: Path, text: str) -> None:
    """Write a file whole or not at all: aside, synced, renamed."""
    aside = path.with_name(f".{path.name}.aside")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time builds a store. The lock is gone when its process is, however it ended."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise InputError("another process is building this store", file=folder) from problem
        yield
        (folder / LOCK).unlink(missing_ok=True)
