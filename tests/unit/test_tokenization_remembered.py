"""Remembered words give the tokens and offsets of the tokenizer itself, whatever the text."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers

from didact.tokenization import remembered as module
from didact.tokenization.encoded import Laid
from didact.tokenization.pipelines import finish, pipeline
from didact.tokenization.remembered import Words, remembered
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

LETTERS = "abcé中国人ßİσΣΆﬁ½①한글กำ"
TEXT = f"some words, some-times {' '.join(LETTERS)} unaffable; 中国人民 [MASK] don't"
any_text = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=50) | st.text(
    alphabet=" \t\n\r\x0b\x1c\x85\u2028\u3000\u200b\ufe0f\u0301\x00.,-_'\"ABC" + LETTERS, max_size=50
)


def words_of(backend: tokenizers.Tokenizer) -> Words | None:
    return remembered(backend, json.loads(backend.to_str()))


@pytest.fixture(scope="module", params=[(True, True), (True, False), (False, True), (False, False)])
def backend(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    cased, chinese = request.param
    learned, _ = train([TEXT] * 3, "wordpiece", 200, cased=cased)
    found = learned._encoder
    found.normalizer = normalizers.BertNormalizer(
        clean_text=chinese, handle_chinese_chars=chinese, strip_accents=None, lowercase=not cased
    )
    found.encode_special_tokens = True
    return found


@pytest.fixture(scope="module", params=[(kind, c) for kind in ("bpe", "unigram", "char") for c in (True, False)])
def spaced(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    kind, cased = request.param
    found = train([TEXT] * 3, kind, 320, cased=cased)[0]._encoder
    found.encode_special_tokens = True
    return found


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(any_text, min_size=1, max_size=3))
def test_the_same_tokens_and_offsets_in_bert_s_pipeline(backend: tokenizers.Tokenizer, texts: list[str]) -> None:
    same(backend, texts)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(any_text, min_size=1, max_size=3))
def test_the_same_tokens_and_offsets_in_others(spaced: tokenizers.Tokenizer, texts: list[str]) -> None:
    same(spaced, texts)


def same(backend: tokenizers.Tokenizer, texts: list[str]) -> None:
    words = words_of(backend)
    assert words is not None
    laid = Laid.of(texts)
    for _ in range(2):  # the second time from memory
        tokens, given, lengths = words(laid)
        cuts = np.cumsum(lengths)[:-1]
        bases = laid.bases.tolist()
        wanted = backend.encode_batch(texts, add_special_tokens=False)
        for text_tokens, rows, base, one in zip(
            np.split(tokens, cuts), np.split(given, cuts), bases, wanted, strict=True
        ):
            assert text_tokens.tolist() == one.ids
            assert [tuple(o) for o in (rows - base).tolist()] == one.offsets


def every_character(backend: tokenizers.Tokenizer) -> None:
    words = words_of(backend)
    assert words is not None
    for begin in range(0, 0x11000, 0x1000):
        text = "".join(f"a{chr(c)} {chr(c)}b" for c in range(begin, begin + 0x1000) if not 0xD800 <= c < 0xE000)
        tokens, given, _ = words(Laid.of([text]))
        wanted = backend.encode(text, add_special_tokens=False)
        assert tokens.tolist() == wanted.ids, hex(begin)
        assert [tuple(o) for o in (given - 1).tolist()] == wanted.offsets, hex(begin)


def test_every_character_beside_white_space_in_bert_s_pipeline(backend: tokenizers.Tokenizer) -> None:
    every_character(backend)


def test_every_character_beside_white_space_in_others(spaced: tokenizers.Tokenizer) -> None:
    every_character(spaced)


def test_memory_has_an_end(backend: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WORDS", 5)
    words = words_of(backend)
    assert words is not None
    for text in ["some words, some-times a b c", "longword" * 9 + " a d", "a b some " + "longword" * 9, "a", ""]:
        tokens = words(Laid.of([text]))[0]
        assert tokens.tolist() == backend.encode(text, add_special_tokens=False).ids
    assert len(words._numbers) == 5
    assert "longword" * 9 not in words._numbers


def test_words_that_are_too_long_are_noticed() -> None:
    tokenizer, _ = train(["天地玄黄宇宙洪荒" * 20], "bpe", 300)
    assert tokenizer._words is not None
    before = tokenizer.encode("天地 玄黄").tokens.tolist()
    tokenizer.encode("天地玄黄宇宙洪荒" * 40_000)
    assert not tokenizer._words.useful
    assert tokenizer.encode("天地 玄黄").tokens.tolist() == before


@pytest.mark.parametrize("kind", ["kmer"])
def test_other_pipelines_are_refused(kind: str) -> None:
    assert words_of(train([TEXT], kind, 300)[0]._encoder) is None


def test_added_tokens_are_refused() -> None:
    backend = pipeline("wordpiece", train([TEXT], "wordpiece", 200)[0]._backend.model, False, 0)
    finish("wordpiece", backend)
    assert words_of(backend) is not None
    backend.add_tokens([AddedToken("two words")])
    assert words_of(backend) is None
    tokenizer = Tokenizer(backend)
    assert tokenizer.tokens(tokenizer.encode("some two words").tokens)[-1] == "two words"
