"""Chunks: what is sent to a worker and what comes back, while a store is built.

A chunk is some hundred kilobytes of documents, however many that takes: small enough for the tokenizer's objects to
stay in cache and memory bounded, large enough for the sending not to count.

Shapes: p documents, T tokens of the chunk, S sentences of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.data.document import Document
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.whole_words import Segmenter

CHUNK = 1 << 17
"""characters after which a chunk is full"""
Array = NDArray[Any]


@dataclass(frozen=True)
class Chunk:
    """documents (p), long ones in parts; held_out (p): whether each is for validation; source_bytes: of the texts, in
    UTF-8; read: how many documents had been read to the end with this chunk, and digest: of all of them; closed:
    whether nothing of another one is in it.
    """

    documents: list[Document]
    held_out: list[bool]
    source_bytes: int
    read: int
    digest: str
    closed: bool


@dataclass(frozen=True)
class Tokenized:
    """A chunk's tokens (T,), word_starts (T,) bool, source_bytes (T,) int32; sentences (S,): the token at which each
    starts; sentences_of (p,): how many each document has.
    """

    tokens: Array
    word_starts: Array
    source_bytes: Array
    sentences: Array
    sentences_of: Array


def chunks_of(documents: Iterable[tuple[int, str, Document]], validation: float) -> Iterator[Chunk]:
    """Documents, each with its number from 1 and the digest of all up to it -> chunks.

    What a chunk holds depends on the documents alone. validation: the share of documents to hold out.
    """
    texts: list[Document] = []
    held_out: list[bool] = []
    characters = octets = read = 0
    digest = ""
    for number, digest_with, document in documents:
        parts = list(document.parts())
        for i, part in enumerate(parts):
            encoded = part.text.encode("utf-8", "surrogatepass")
            drawn = int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")
            texts.append(part)
            held_out.append(drawn < validation * 2**64)
            characters += len(part.text)
            octets += len(encoded)
            closed = i + 1 == len(parts)
            if closed:
                read, digest = number, digest_with
            if characters >= CHUNK:
                yield Chunk(texts, held_out, octets, read, digest, closed)
                texts, held_out, characters, octets = [], [], 0, 0
    if texts:
        yield Chunk(texts, held_out, octets, read, digest, closed=True)


def tokenize(documents: Sequence[Document], tokenizer: Tokenizer, segmenter: Segmenter | None) -> Tokenized:
    """A chunk's documents (p) -> its tokens and the borders among them."""
    texts = [document.text for document in documents]
    flat = tokenizer.encode_flat(texts, segmenter=segmenter)
    ends = np.cumsum(flat.lengths)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    bases = np.cumsum(sizes) - sizes
    begins = [start + base for d, base in zip(documents, bases.tolist(), strict=True) for start, _ in d.spans()]
    # A sentence begins with the first token that begins where it does or later: a token across the border belongs to
    # the sentence before. Sentences without tokens vanish, and a document's first token always begins one.
    characters = np.maximum.accumulate(flat.offsets[:, 0] + np.repeat(bases, flat.lengths))
    first = np.concatenate([np.searchsorted(characters, begins), ends - flat.lengths])
    sentences = np.unique(first[first < len(flat.tokens)])
    return Tokenized(
        tokens=flat.tokens.astype(np.uint32),
        word_starts=flat.word_starts,
        source_bytes=flat.source_bytes.astype(np.int32),
        sentences=sentences,
        sentences_of=np.diff(np.searchsorted(sentences, np.concatenate([[0], ends]))),
    )
