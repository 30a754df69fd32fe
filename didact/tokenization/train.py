"""Learning a vocabulary from a sample of any corpus: the same pieces from the same texts, in whatever order they come.

`tokenizers` trains WordPiece and BPE. Its WordPiece trainer numbers the characters inside words in the order of a
randomly seeded hash map and breaks ties by these numbers, so its vocabularies differ from run to run; here it is given
all characters in order. Unigram is trained by `didact.tokenization.unigram`, for the same reason.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from didact.errors import InputError
from didact.tokenization.pipelines import finish, pipeline
from didact.tokenization.report import Report, measure
from didact.tokenization.sample import DEFAULT_BYTES, cut_runs, sample
from didact.tokenization.specials import BERT_SPECIALS, GPT2_SPECIALS, sentinel
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.unigram import learn_pieces

Kind = Literal["wordpiece", "bpe", "gpt2", "unigram", "word", "char", "kmer"]
Progress = Callable[[str, float], None]
"""(what is being done, share of it that is done)"""

MOST_SYMBOLS = 10_000_000
"""characters (for BPE: bytes) of distinct words that are learned from, or counting pairs in them takes too much memory:
about 100 bytes each. Reached in scripts without spaces; what comes after it in the sample is left out of it.
"""
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
    sentinels: int = 0,
    special: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Tokenizer, Report]:
    """Texts (documents) -> a tokenizer and how well it fits them.

    vocabulary: most pieces, special tokens included (fewer where the texts have no more); cased: keep capitals and
    accents; k: length of a k-mer; sample_bytes: UTF-8 bytes of text learned from, at most; sentinels: how many tokens
    there are to mark hidden spans (T5: 100); special: further special tokens (UL2: [R], [S], [X]); both come last.
    Raises InputError where there is no text, or the vocabulary is too small for it.
    """
    started = time.monotonic()
    last = list(dict.fromkeys([*special, *(sentinel(i) for i in range(sentinels))]))
    wanted, vocabulary = vocabulary, vocabulary - len(last)
    tell = progress or (lambda _what, _share: None)
    tell("reading", 0.0)
    taken = sample(texts, sample_bytes)
    if not any(text.strip() for text in taken.texts):
        raise InputError("no text to learn a vocabulary from")
    least = len(BERT_SPECIALS) + (256 if kind in ("bpe", "gpt2") else 1)
    if vocabulary < least:
        raise InputError(f"a vocabulary of {wanted}", expected=f"at least {least + len(last)} ({kind})")
    material = [cut_runs(text) for text in taken.texts]
    words, used = _words(pipeline(kind, models.BPE(), cased, k), material, tell)
    if used < len(material):
        size = sum(len(text.encode()) for text in taken.texts[:used])
        taken, material = replace(taken, texts=taken.texts[:used], size=size), material[:used]
    backend = pipeline(kind, _learn(material, words, kind, vocabulary, cased, tell), cased, k)
    finish(kind, backend)
    backend.add_special_tokens(last)
    tokenizer = Tokenizer(backend, {"model_max_length": 512, "do_lower_case": not cased})
    tell("measuring", 0.0)
    return tokenizer, measure(tokenizer, taken, started)


def _learn(
    material: list[str], words: Counter[str], kind: Kind, vocabulary: int, cased: bool, tell: Progress
) -> models.Model:
    room = vocabulary - len(BERT_SPECIALS)
    characters = _characters(words)
    match kind:
        case "bpe" | "gpt2":
            return _bpe(kind, material, vocabulary, cased, tell)
        case "wordpiece":
            return _wordpiece(material, _alphabet(characters, room // 2), vocabulary, cased, tell)
        case "unigram":
            pieces = learn_pieces(words, _alphabet(characters, room // 2), room)
            return models.Unigram([*((token, 0.0) for token in BERT_SPECIALS), *pieces], unk_id=1)
        case "word":
            frequent = sorted(words, key=lambda w: (-words[w], w))
            return models.WordLevel(_numbered(frequent[:room]), unk_token="[UNK]")
        case "char":
            return models.WordLevel(_numbered(["▁", *_alphabet(characters, room - 1)]), unk_token="[UNK]")
        case "kmer":
            alphabet = _alphabet(characters, room)
            longer = sorted((w for w in words if len(w) > 1), key=lambda w: (-words[w], w))
            pieces = _numbered([*alphabet, *longer[: room - len(alphabet)]])
            return models.WordPiece(pieces, unk_token="[UNK]", continuing_subword_prefix="")


def _numbered(pieces: Iterable[str]) -> dict[str, int]:
    return {piece: i for i, piece in enumerate(chain(BERT_SPECIALS, pieces))}


def _bpe(kind: Kind, material: list[str], vocabulary: int, cased: bool, tell: Progress) -> models.Model:
    backend = pipeline(kind, models.BPE(), cased, 0)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(GPT2_SPECIALS if kind == "gpt2" else BERT_SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_told(material, tell), trainer, length=len(material))
    return backend.model


def _wordpiece(material: list[str], alphabet: list[str], vocabulary: int, cased: bool, tell: Progress) -> models.Model:
    """The characters are handed over as special tokens, whose numbers are the order in which they are given."""
    backend = pipeline("wordpiece", models.WordPiece(unk_token="[UNK]"), cased, 0)
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
        if i % 256 == 0:
            tell("learning", i / len(material))
        yield text


def _words(backend: tokenizers.Tokenizer, material: list[str], tell: Progress) -> tuple[Counter[str], int]:
    """How often each word (pre-token) occurs, and in how many of the texts: those that have MOST_SYMBOLS at most."""
    assert backend.pre_tokenizer is not None
    runs: Counter[str] = Counter()
    parts: dict[str, list[str]] = {}
    words: set[str] = set()
    symbols = used = 0
    for text in material:
        if used % 256 == 0:
            tell("counting words", used / len(material))
        normal = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
        found = Counter(normal.split())
        for run in found:
            if run not in parts:
                parts[run] = [part for part, _ in backend.pre_tokenizer.pre_tokenize_str(run)]
                for part in parts[run]:
                    if part not in words:
                        words.add(part)
                        symbols += len(part)
        if symbols > MOST_SYMBOLS and used:
            break
        used += 1
        runs.update(found)
    counts: Counter[str] = Counter()
    for run, times in runs.items():
        for part in parts[run]:
            counts[part] += times
    return counts, used


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
