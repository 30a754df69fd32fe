"""Learning a vocabulary from a sample of any corpus: the same pieces from the same texts, in whatever order they come.

`tokenizers` trains WordPiece and BPE. Its WordPiece trainer numbers the characters inside words in the order of a
randomly seeded hash map and breaks ties by these numbers, so its vocabularies differ from run to run; here it is given
all characters in order. Unigram is trained by `didact.tokenization.unigram`, for the same reason.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Literal

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from didact.errors import InputError
from didact.tokenization.pipelines import finish, pipeline
from didact.tokenization.report import Report, measure
from didact.tokenization.sample import DEFAULT_BYTES, cut_runs, sample
from didact.tokenization.specials import BERT_SPECIALS
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.unigram import learn_pieces

Kind = Literal["wordpiece", "bpe", "unigram", "char", "kmer"]
Progress = Callable[[str, float], None]
"""(what is being done, share of it that is done)"""

COVERAGE = 0.9999
"""share of the sample's characters that the alphabet must have, rarest left out first (SentencePiece: 0.9995)"""


def train(
    texts: Iterable[str],
    kind: Kind = "wordpiece",
    vocabulary: int = 30_000,
    *,
    cased: bool = False,
    k: int = 6,
    sample_bytes: int = DEFAULT_BYTES,
    progress: Progress | None = None,
) -> tuple[Tokenizer, Report]:
    """Texts (documents) -> a tokenizer and how well it fits them.

    vocabulary: most pieces, special tokens included (fewer where the texts have no more); cased: keep capitals and
    accents; k: length of a k-mer; sample_bytes: UTF-8 bytes of text learned from, at most.
    Raises InputError where there is no text, or the vocabulary is too small for it.
    """
    started = time.monotonic()
    tell = progress or (lambda _what, _share: None)
    tell("reading", 0.0)
    taken = sample(texts, sample_bytes)
    if not any(text.strip() for text in taken.texts):
        raise InputError("no text to learn a vocabulary from")
    least = len(BERT_SPECIALS) + (256 if kind == "bpe" else 1)
    if vocabulary < least:
        raise InputError(f"a vocabulary of {vocabulary}", expected=f"at least {least} ({kind})")
    tell("learning", 0.0)
    material = [cut_runs(text) for text in taken.texts]
    model = _learn(material, kind, vocabulary, cased, k, tell)
    backend = pipeline(kind, model, cased, k)
    finish(kind, backend)
    tokenizer = Tokenizer(backend, {"model_max_length": 512, "do_lower_case": not cased})
    tell("measuring", 0.0)
    return tokenizer, measure(tokenizer, taken, started)


def _learn(material: list[str], kind: Kind, vocabulary: int, cased: bool, k: int, tell: Progress) -> models.Model:
    if kind == "bpe":
        return _bpe(material, vocabulary, cased, tell)
    if kind == "wordpiece":
        return _wordpiece(material, vocabulary, cased, tell)
    backend = pipeline(kind, models.BPE(), cased, k)
    words = _words(backend, material, tell)
    if kind == "unigram":
        alphabet = _alphabet(_characters(words), (vocabulary - len(BERT_SPECIALS)) // 2)
        pieces = learn_pieces(words, alphabet, vocabulary - len(BERT_SPECIALS))
        return models.Unigram([*((token, 0.0) for token in BERT_SPECIALS), *pieces], unk_id=1)
    room = vocabulary - len(BERT_SPECIALS)
    if kind == "char":
        return models.WordLevel(_numbered(["▁", *_alphabet(_characters(words), room - 1)]), unk_token="[UNK]")
    characters = _alphabet(_characters(words), room)
    longer = sorted((w for w in words if len(w) > 1), key=lambda w: (-words[w], w))
    pieces = [*characters, *longer[: room - len(characters)]]
    return models.WordPiece(_numbered(pieces), unk_token="[UNK]", continuing_subword_prefix="")


def _numbered(pieces: Iterable[str]) -> dict[str, int]:
    return {piece: i for i, piece in enumerate(chain(BERT_SPECIALS, pieces))}


def _bpe(material: list[str], vocabulary: int, cased: bool, tell: Progress) -> models.Model:
    backend = pipeline("bpe", models.BPE(), cased, 0)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(BERT_SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_told(material, tell), trainer, length=len(material))
    return backend.model


def _wordpiece(material: list[str], vocabulary: int, cased: bool, tell: Progress) -> models.Model:
    """Chosen characters are handed over as special tokens, whose numbers are the order in which they are given."""
    backend = pipeline("wordpiece", models.WordPiece(unk_token="[UNK]"), cased, 0)
    normalizer = backend.normalizer
    assert normalizer is not None
    counts: Counter[str] = Counter()
    for text in material:
        points = np.frombuffer(normalizer.normalize_str(text).encode("utf-32-le"), np.uint32)
        there, times = np.unique(points, return_counts=True)
        counts.update(dict(zip(map(chr, there.tolist()), times.tolist(), strict=True)))
    counts = Counter({c: n for c, n in counts.items() if not c.isspace()})
    alphabet = _alphabet(counts, (vocabulary - len(BERT_SPECIALS)) // 2)
    inside = [c for c in alphabet if _joins(backend, c)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[*BERT_SPECIALS, *alphabet, *(f"##{c}" for c in inside)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(_told(material, tell), trainer, length=len(material))
    learned = json.loads(backend.to_str())["model"]["vocab"]
    pieces = sorted(learned, key=learned.__getitem__)[len(BERT_SPECIALS) :]
    return models.WordPiece(_numbered(pieces), unk_token="[UNK]", max_input_chars_per_word=100)


def _joins(backend: tokenizers.Tokenizer, character: str) -> bool:
    """Whether the character can stand inside a word: punctuation and Chinese characters cannot."""
    assert backend.normalizer is not None
    assert backend.pre_tokenizer is not None
    split = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(f"a{character}"))
    return len(split) == 1


def _told(material: list[str], tell: Progress) -> Iterable[str]:
    for i, text in enumerate(material):
        if i % 1024 == 0:
            tell("learning", 0.5 * i / len(material))
        yield text
    tell("learning", 0.5)


def _words(backend: tokenizers.Tokenizer, material: list[str], tell: Progress) -> Counter[str]:
    """How often each pre-token occurs."""
    words: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for text in _told(material, tell):
        normal = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
        runs.update(normal.split())
    assert backend.pre_tokenizer is not None
    for run, times in runs.items():
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(run):
            words[word] += times
    return words


def _characters(words: Counter[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word, times in words.items():
        for character in word:
            counts[character] += times
    return counts


def _alphabet(counts: Counter[str], most: int) -> list[str]:
    """The most frequent characters up to COVERAGE of all, `most` of them at most; by code point."""
    wanted = COVERAGE * sum(counts.values())
    chosen: list[str] = []
    for character in sorted(counts, key=lambda c: (-counts[c], c)):
        if len(chosen) >= most or wanted <= 0:
            break
        chosen.append(character)
        wanted -= counts[character]
    return sorted(chosen)
