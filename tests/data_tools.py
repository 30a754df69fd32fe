"""Small corpora and a small WordPiece vocabulary, for whatever reads documents or stores; selections of every kind."""

from __future__ import annotations

import atexit
import json
import shutil
import string
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from didact.batch import Batch, Example
from didact.data.document import Document
from didact.data.store import Store, build_store
from didact.objectives import SELECTS, Select
from didact.objectives.corruption import Pieces
from didact.tokenization.tokenizer import Tokenizer

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
STEMS = ("river", "stone", "cloud", "lamp", "winter", "paper", "glass", "night", "field", "song")


def small_tokenizer(folder: Path) -> Tokenizer:
    """WordPiece of some words, their endings, single letters and a few Chinese characters."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), ".", ",", "!"]
    pieces = [*SPECIALS, *letters, *STEMS, "##s", "##ing", "##er", "天", "地", "人", "。"]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n", encoding="utf-8")
    return Tokenizer.load(folder / "vocab.txt")


def made_up_documents(count: int, seed: int = 0, longest: int = 12) -> list[Document]:
    """Documents of 1 to `longest` sentences of 1 to 12 words; one in ten is empty, one has a line of 400 words."""
    rng = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        sentences = [
            " ".join(
                str(rng.choice(STEMS)) + str(rng.choice(["", "s", "ing", "er", "天地"]))
                for _ in range(int(rng.integers(1, 13)))
            ).capitalize()
            + "."
            for _ in range(int(rng.integers(1, longest + 1)))
        ]
        if number == count // 2:
            sentences.insert(1, " ".join(["stone"] * 400) + ".")
        text = "  \n " if number % 10 == 7 else " ".join(sentences)
        documents.append(Document(f"made/{number}", text))
    return documents


def small_store(folder: Path, count: int = 60, validation: float = 0.2, seed: int = 0) -> Store:
    """A store of made-up documents."""
    tokenizer = small_tokenizer(folder / "tokenizer")
    return build_store(made_up_documents(count, seed), tokenizer, folder / "store", processes=1, validation=validation)


@cache
def collocations_file() -> Path:
    """A list of collocations for any vocabulary: two or three words of one token each, whose ids follow each other."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    lines = [json.dumps({"collocations": 1, "tokenizer": "any"}), "pmi\tcount\ttext\ttokens"]
    lines += [f"2.5\t20\tmade up\t{a}|{a + 1}" for a in range(4, 90)]
    lines += [f"1.5\t20\tmade up\t{a}|{a + 1}|{a + 2}" for a in range(4, 90, 3)]
    (folder / "collocations.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "collocations.tsv"


def selections() -> tuple[Select, ...]:
    """One of every registered kind, with whatever it cannot do without."""
    needed = {"pmi_spans": {"file": str(collocations_file())}}
    return tuple(cls(**needed.get(cls.kind, {})) for cls in SELECTS)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def same(a: Batch, b: Batch) -> bool:
    """Whether two batches are equal in every tensor."""

    def tensors(batch: Batch) -> list[object]:
        packed = batch.inputs.packed
        found: list[object] = [packed.tokens.tolist(), packed.cu_seqlens.tolist(), packed.positions.tolist()]
        found += [packed.max_seqlen, None if packed.segments is None else packed.segments.tolist(), batch.tokens]
        if batch.outputs is not None:
            written = batch.outputs.packed
            found += [written.tokens.tolist(), written.cu_seqlens.tolist(), written.positions.tolist()]
        for asked in batch.labels:
            noise = None if asked.noise is None else asked.noise.tolist()
            found += [asked.name, asked.head, asked.rows.tolist(), asked.values.tolist(), noise, asked.count]
        return found

    return tensors(a) == tensors(b)


def example(length: int, seed: int = 0, vocabulary: int = 100, relation: int | None = None) -> Example:
    """[CLS] words [SEP]: tokens from 5 up, words of one to four tokens, special tokens 2 and 3 at the ends."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, vocabulary, length)
    special = np.zeros(length, bool)
    special[[0, -1]] = True
    tokens[0], tokens[-1] = 2, 3
    sizes = rng.integers(1, 5, length)
    words = np.repeat(np.arange(length), sizes)[:length]
    words[special] = -1
    return Example(
        tokens=tokens,
        special=special,
        segments=np.zeros(length, np.int64),
        words=words,
        sentences=np.arange(1, max(length - 1, 2), 6),
        source_bytes=np.where(special, 0, 3),
        targets={} if relation is None else {"relation": relation},
    )


class Numbered:
    """A source of `size` examples; example i holds 1000 * base + i, and 2 to 9 tokens."""

    def __init__(self, size: int, base: int = 0) -> None:
        self.size, self.base = size, base

    def __len__(self) -> int:
        return self.size

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        length = 2 + int(rng.integers(8))
        return Example(np.full(length, 1000 * self.base + index), np.zeros(length, bool))


SENTINELS = tuple(range(200, 300))


def pieces() -> Pieces:
    """What corruptions write with: four special tokens, a mask, words from 5 to 99, a hundred sentinels."""
    return Pieces(mask_id=4, vocabulary=300, specials=(0, 1, 2, 3, 4, *SENTINELS), sentinels=SENTINELS)


def corruptible(length: int, seed: int = 0) -> Example:
    """[CLS] words [SEP], in longer ones a [SEP] in the middle too; no token twice; sentences of two to five tokens."""
    rng = np.random.default_rng(seed)
    base = example(length, seed)
    special = base.special.copy()
    tokens = 300 + rng.permutation(length)  # none that a corruption writes
    if length > 12:
        special[length // 2] = True
    tokens[special], tokens[0] = 3, 2
    words = np.where(special, -1, np.cumsum((rng.random(length) < 0.6) | special))
    starts = np.cumsum(rng.integers(2, 6, length)) - 1
    starts = np.append(starts[starts < length - 1], length // 2 + 1 if length > 12 else 1)
    sentences = np.unique(starts[(starts > 0) & (starts < length)])
    return replace(base, tokens=tokens, special=special, words=words, sentences=sentences)
