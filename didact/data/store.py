"""From documents to a store: tokenized by several processes, written in order, continued where it was interrupted.

This process reads documents, cuts them into chunks and writes what comes back in the order in which it was sent; the
workers tokenize. Neither what a chunk holds nor the order of writing depends on the number of workers, so neither do
the bytes. Every few seconds the files are synced and their lengths noted in progress.json; a run that was killed cuts
them back to the last note, passes over the documents that it says are done (checking that they are the same ones) and
goes on. Only a few chunks are in memory at any time.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from didact.data.chunks import Chunk, Tokenized, chunks_of
from didact.data.document import Document
from didact.data.stored import ESCAPE, FILES, META, VERSION, Store, path_of, sha256, token_type
from didact.data.workers import ordered
from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer

__all__ = ["Progress", "Store", "build_store"]

PROGRESS = "progress.json"
LOCK = "lock"


@dataclass(frozen=True)
class Progress:
    """How far a store is: documents and UTF-8 bytes read, tokens written, of which in this run; seconds of it."""

    documents: int
    source_bytes: int
    tokens: int
    resumed_documents: int
    seconds: float


def build_store(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    processes: int | None = None,
    validation: float = 0.01,
    segmenter: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    save_every: float = 5.0,
) -> Store:
    """Tokenize `documents` into `folder`, or go on with what an interrupted call left there.

    processes: workers, None = one a core, 1 = this process; validation: the share of documents held out, by the hash
    of their text, so equal texts fall on the same side; segmenter: a name of `whole_words.SEGMENTERS` for scripts
    without spaces; progress: called with every chunk written; save_every: seconds between two notes of where it stands.
    Duplicates are kept; documents without tokens are dropped and counted (`meta["dropped"]`); documents of more than
    four million characters are cut (`Document.parts`).

    Raises InputError where the folder holds a finished store or one begun from other documents, with another
    tokenizer or otherwise; whatever the documents' iterator raises, after noting where it stood.
    """
    folder = Path(folder)
    if (folder / META).exists():
        raise InputError(
            "a finished store", file=folder, expected="a folder that does not exist yet, or an unfinished one"
        )
    if not 0.0 <= validation < 1.0:
        raise InputError(f"a validation share of {validation}", expected="0 to 1")
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "version": VERSION,
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "vocabulary": tokenizer.vocabulary},
        "validation": validation,
        "segmenter": segmenter,
    }
    with _locked(folder):
        state = _State.load(folder, settings)
        begun = time.monotonic()
        resumed = state.documents_read
        with _Writer(folder, state, token_type(tokenizer.vocabulary)) as writer:
            saved = time.monotonic()
            remaining = _unread(iter(documents), state, folder)
            work = ordered(chunks_of(remaining, validation), tokenizer, segmenter, processes or _cores())
            try:
                for chunk, tokenized in work:
                    writer.write(chunk, tokenized)
                    now = time.monotonic()
                    if now - saved > save_every:
                        writer.save(settings)
                        saved = now
                    if progress is not None:
                        progress(Progress(state.documents_read, state.source_bytes, state.tokens, resumed, now - begun))
            except BaseException:
                writer.save(settings)
                raise
            finally:
                work.close()
            writer.finish()
        if not state.tokens:
            raise InputError("no tokens: the documents are empty", file=folder)
        tokenizer.save(folder / "tokenizer")
        _write_meta(folder, settings, state)
    (folder / PROGRESS).unlink(missing_ok=True)
    return Store(folder, tokenizer)


@dataclass
class _State:
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
    def load(folder: Path, settings: dict[str, Any]) -> _State:
        path = folder / PROGRESS
        if not path.exists():
            return _State()
        noted = json.loads(path.read_text(encoding="utf-8"))
        if noted.pop("settings") != settings:
            raise InputError(
                "a store begun with another tokenizer or other settings",
                file=folder,
                expected="the same, or a new folder",
            )
        return _State(**noted)


class _Writer:
    """The open files of a store. Appends chunks in order."""

    def __init__(self, folder: Path, state: _State, tokens: np.dtype[Any]) -> None:
        self.folder, self.state, self.token_type = folder, state, tokens
        self.noted = copy.deepcopy(state)  # as it was when a document last ended: where one can go on
        self.files: dict[str, BinaryIO] = {}

    def __enter__(self) -> _Writer:
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


def _write_meta(folder: Path, settings: dict[str, Any], state: _State) -> None:
    meta = {
        **settings,
        "documents": state.documents,
        "sentences": state.sentences,
        "tokens": state.tokens,
        "source_bytes": state.source_bytes,
        "dropped": {"documents without tokens": state.dropped},
        "files": {
            name: {"bytes": path_of(folder, name).stat().st_size, "sha256": sha256(path_of(folder, name))}
            for name in FILES
        },
    }
    write_aside(folder / META, json.dumps(meta, indent=2, sort_keys=True) + "\n")


def _unread(documents: Iterator[Document], state: _State, folder: Path) -> Iterator[tuple[int, str, Document]]:
    """The documents that are not in the store yet, each with its number and the digest of all up to and with it."""
    digest, read = "", 0
    for document in documents:
        own = hashlib.blake2b(document.text.encode("utf-8", "surrogatepass"), digest_size=16, key=digest.encode())
        digest = own.hexdigest()
        read += 1
        if read > state.documents_read:
            yield read, digest, document
        elif read == state.documents_read and digest != state.digest:
            raise InputError(
                "a store begun from other documents", file=folder, expected="the same corpus, or a new folder"
            )
    if read < state.documents_read:
        raise InputError("a store begun from more documents", file=folder, expected="the same corpus, or a new folder")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
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
