"""A store: a tokenized corpus in memory-mapped files, with the borders of documents, sentences and words.

    store.json          what it is, and size and sha256 of every file below
    tokens.bin          uint16 where the vocabulary allows, else uint32, of all documents end to end
    word_starts.bin     a bit a token, lowest first: does it start a word
    source_bytes.bin    uint8 a token: UTF-8 bytes of source that it stands for; 255 = look in
    escapes.bin         (token, bytes) pairs of int64, by token, for those of 255 and more
    sentences.bin       int64: the token at which each sentence starts, and the number of tokens
    documents.bin       int64: the sentence at which each document starts, and the number of sentences
    validation.bin      uint8 a document: 1 = held out, by the hash of its text, decided when the store was made
    tokenizer/          what made the tokens

All numbers little-endian. Made by `didact.data.store.build_store`; the same bytes for any number of processes.

Shapes: T tokens, S sentences, D documents, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from didact.errors import InputError
from didact.tokenization.tokenizer import Encoded, Tokenizer

VERSION = 1
TOKENIZER = "tokenizer/tokenizer.json"
META = "store.json"
ESCAPE = 255
FILES = ("tokens", "word_starts", "source_bytes", "escapes", "sentences", "documents", "validation")
SplitName = Literal["train", "validation"]
Array = NDArray[Any]


def path_of(folder: Path, name: str) -> Path:
    """The file of a store that holds `name`, one of FILES."""
    return folder / f"{name}.bin"


def token_type(vocabulary: int) -> np.dtype[Any]:
    """The smallest type of two that holds every id."""
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """A finished store, memory-mapped. Opening checks version and sizes, `verify` every byte. Pickles as its path."""

    def __init__(self, folder: str | Path, tokenizer: Tokenizer | None = None) -> None:
        """tokenizer: the one that the model reads with, to be checked.

        Raises InputError where there is no store, it is unfinished, a file is cut short, or `tokenizer` is not the
        one that made its tokens.
        """
        self.folder = Path(folder)
        self.meta = _read_meta(self.folder)
        for name in FILES:
            file, wanted = path_of(self.folder, name), self.meta["files"][name]["bytes"]
            found = file.stat().st_size if file.is_file() else None
            if found != wanted:
                raise InputError(
                    "the file is missing" if found is None else f"{found} bytes", file=file, expected=f"{wanted} bytes"
                )
        if tokenizer is not None and tokenizer.fingerprint != self.fingerprint:
            raise InputError(
                f"a store whose tokens were made by another tokenizer ({self.fingerprint[:12]})",
                file=self.folder,
                expected=f"{tokenizer.fingerprint[:12]}, the model's",
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store, (self.folder,))

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}: {self.documents:,} documents, {self.tokens:,} tokens)"

    def verify(self) -> None:
        """Reads everything. Raises InputError naming the first file whose checksum is wrong."""
        for name in FILES:
            wanted, found = self.meta["files"][name]["sha256"], sha256(path_of(self.folder, name))
            if found != wanted:
                raise InputError(
                    f"checksum {found[:12]}", file=path_of(self.folder, name), expected=f"{wanted[:12]}: damaged"
                )

    @property
    def tokens(self) -> int:
        """T, of all documents."""
        return int(self.meta["tokens"])

    @property
    def sentences(self) -> int:
        """S."""
        return int(self.meta["sentences"])

    @property
    def documents(self) -> int:
        """D."""
        return int(self.meta["documents"])

    @property
    def vocabulary(self) -> int:
        """V: size of the vocabulary of the tokenizer that made it."""
        return int(self.meta["tokenizer"]["vocabulary"])

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer that made it."""
        return str(self.meta["tokenizer"]["fingerprint"])

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made it. Raises InputError where another one lies in its place."""
        file = self.folder / TOKENIZER
        written = self.meta["tokenizer"].get("sha256")  # of older stores not known
        # not by the fingerprint: what a tokenizer is as JSON may change with the library that reads it
        if written is not None and (not file.is_file() or sha256(file) != written):
            raise InputError("not the tokenizer that made the store's tokens", file=file, expected="the one that did")
        return Tokenizer.load(file.parent)

    @cached_property
    def token_ids(self) -> Array:
        """(T,) memory-mapped."""
        return self._map("tokens", token_type(self.vocabulary))

    @cached_property
    def sentence_starts(self) -> Array:
        """(S + 1,) int64, memory-mapped: sentence s is tokens sentence_starts[s] to sentence_starts[s + 1]."""
        return self._map("sentences", np.dtype("<i8"))

    @cached_property
    def document_starts(self) -> Array:
        """(D + 1,) int64, memory-mapped: document d is sentences document_starts[d] to document_starts[d + 1]."""
        return self._map("documents", np.dtype("<i8"))

    @cached_property
    def held_out(self) -> Array:
        """(D,) bool: whether each document is for validation."""
        return self._map("validation", np.dtype(np.uint8)).astype(bool)

    def split(self, name: SplitName) -> Array:
        """The documents of a split, by number, in order."""
        return np.flatnonzero(self.held_out == (name == "validation"))

    def document(self, number: int) -> tuple[int, int]:
        """Tokens [start, stop) of a document."""
        first, last = self.document_starts[number : number + 2].tolist()
        return int(self.sentence_starts[first]), int(self.sentence_starts[last])

    def read(self, start: int, stop: int) -> Encoded:
        """Tokens [start, stop) with word starts and source bytes; where they lie in their text is not kept."""
        octets = self._word_bits[start >> 3 : (stop + 7) >> 3]
        bits = np.unpackbits(octets, bitorder="little")[start & 7 :][: stop - start]
        return Encoded(
            tokens=self.token_ids[start:stop].astype(np.int64),
            offsets=None,
            word_starts=bits.view(np.bool_),
            source_bytes=self._source_bytes(start, stop),
        )

    def text(self, start: int, stop: int) -> str:
        """Tokens [start, stop) decoded."""
        return self.tokenizer.decode(self.token_ids[start:stop])

    def token_counts(self, split: SplitName = "train") -> Array:
        """(V,) how often each token occurs in a split."""
        counts = np.zeros(self.vocabulary, np.int64)
        for start, stop in self._runs(split):
            counts += np.bincount(self.token_ids[start:stop], minlength=self.vocabulary)
        return counts

    def unigram_entropy(self, split: SplitName = "train") -> float:
        """Nats a token: what a model loses that knows how often each token comes and nothing else."""
        counts = self.token_counts(split)
        seen = counts[counts > 0] / max(1, counts.sum())
        return float(-(seen * np.log(seen)).sum())

    def _runs(self, split: SplitName, most: int = 1 << 24) -> Iterator[tuple[int, int]]:
        """Token ranges that cover a split's documents, neighbours joined, none much longer than `most`."""
        documents = self.split(split)
        if not len(documents):
            return
        new = np.flatnonzero(np.diff(documents, prepend=-2) != 1)
        for first, last in zip(documents[new], documents[np.append(new[1:], len(documents)) - 1], strict=True):
            start, stop = self.document(int(first))[0], self.document(int(last))[1]
            for at in range(start, stop, most):
                yield at, min(at + most, stop)

    def _source_bytes(self, start: int, stop: int) -> Array:
        sizes = self._bytes[start:stop].astype(np.int64)
        for row in (sizes == ESCAPE).nonzero()[0].tolist():
            sizes[row] = self._escapes[self._escapes[:, 0].searchsorted(start + row), 1]
        return sizes

    @cached_property
    def _word_bits(self) -> Array:
        return self._map("word_starts", np.dtype(np.uint8))

    @cached_property
    def _bytes(self) -> Array:
        return self._map("source_bytes", np.dtype(np.uint8))

    @cached_property
    def _escapes(self) -> Array:
        return self._map("escapes", np.dtype("<i8")).reshape(-1, 2)

    def _map(self, name: str, dtype: np.dtype[Any]) -> Array:
        path = path_of(self.folder, name)
        if not path.stat().st_size:  # what is empty cannot be mapped
            return np.zeros(0, dtype)
        return np.asarray(np.memmap(path, dtype, mode="r"))  # plain: slicing the subclass costs ten times as much


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / META
    if not path.is_file():
        begun = path_of(folder, "tokens").is_file()
        raise InputError(
            "the store was not finished" if begun else "no store here",
            file=folder,
            expected="the command that began it once more: it goes on" if begun else f"a folder with {META}",
        )
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version = meta["version"]
        if version == VERSION:
            _ = [int(meta["files"][name]["bytes"]) for name in FILES], meta["tokenizer"]["fingerprint"]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as problem:
        raise InputError(f"not the description of a store ({problem!r})", file=path) from problem
    if version != VERSION:
        raise InputError(f"a store of version {version}", file=folder, expected=f"version {VERSION}")
    return meta
