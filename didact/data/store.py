"""From documents to a store: tokenized by several processes, written in order, continued where it was interrupted.

This process reads documents, cuts them into chunks and writes what comes back in the order in which it was sent; the
workers tokenize. Neither what a chunk holds nor the order of writing depends on the number of workers, so neither do
the bytes. Every few seconds the files are synced and their lengths noted in progress.json; a run that was killed cuts
them back to the last note, passes over the documents that it says are done (checking that they are the same ones) and
goes on. Only a few chunks are in memory at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didact.data.chunks import chunks_of
from didact.data.document import Document
from didact.data.files import make_folder
from didact.data.stored import FILES, META, TOKENIZER, VERSION, Store, path_of, sha256, token_type
from didact.data.workers import ordered
from didact.data.writer import PROGRESS, State, Writer, locked, write_aside
from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.whole_words import SEGMENTERS

__all__ = ["Progress", "Store", "build_store"]


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
    if segmenter is not None and segmenter not in dict(SEGMENTERS):
        raise InputError(f"a segmenter {segmenter!r}", expected=f"one of {', '.join(dict(SEGMENTERS))}")
    make_folder(folder)
    settings = {
        "version": VERSION,
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "vocabulary": tokenizer.vocabulary},
        "validation": validation,
        "segmenter": segmenter,
    }
    with locked(folder):
        state = State.load(folder, settings)
        begun = time.monotonic()
        resumed = state.documents_read
        with Writer(folder, state, token_type(tokenizer.vocabulary)) as writer:
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


def _write_meta(folder: Path, settings: dict[str, Any], state: State) -> None:
    own = {**settings["tokenizer"], "sha256": sha256(folder / TOKENIZER)}
    meta = {
        **settings,
        "tokenizer": own,
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


def _unread(documents: Iterator[Document], state: State, folder: Path) -> Iterator[tuple[int, str, Document]]:
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
