"""Remembered words give the tokens and offsets of the tokenizer itself, whatever the text."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers

from didact.tokenization import remembered as module
from didact.tokenization.encoded import Laid
from didact.tokenization.pipelines import finish, pipeline
from didact.tokenization.remembered import remembered
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

LETTERS = "abcé中国人ßİσΣΆﬁ½①한글กำ"
TEXT = f"some words, some-times {' '.join(LETTERS)} unaffable; 中国人民 [MASK] don't"
any_text = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=50) | st.text(
    alphabet=" \t\n\r\x0b\x1c\x85\u2028\u3000\u200b\ufe0f\u0301\x00.,-_'\"ABC" + LETTERS, max_size=50
)


@pytest.fixture(scope="module", params=[(True, True), (True, False), (False, True), (False, False)])
def backend(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    cased, chinese = request.param
    learned, _ = train([TEXT] * 3, "wordpiece", 200, cased=cased)
    found = learned._backend
    found.normalizer = normalizers.BertNormalizer(
        clean_text=chinese, handle_chinese_chars=chinese, strip_accents=None, lowercase=not cased
    )
    found.encode_special_tokens = True
    return found


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(any_text, min_size=1, max_size=3))
def test_the_same_tokens_and_offsets(backend: tokenizers.Tokenizer, texts: list[str]) -> None:
    words = remembered(backend)
    assert words is not None
    laid = Laid.of(texts)
    for _ in range(2):  # the second time from memory
        starts, counts, tokens, offsets = words(laid.text, laid.points)
        wanted = backend.encode(laid.text, add_special_tokens=False)
        assert tokens.tolist() == wanted.ids
        assert [tuple(o) for o in offsets.tolist()] == wanted.offsets
        assert counts.sum() == len(tokens)
        assert (np.diff(starts) > 0).all()


def test_memory_has_an_end(backend: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WORDS", 5)
    words = remembered(backend)
    assert words is not None
    for text in ["some words, some-times a b c", "longword" * 9 + " a d", "a b some " + "longword" * 9, "a", ""]:
        laid = Laid.of([text])
        tokens = words(laid.text, laid.points)[2]
        assert tokens.tolist() == backend.encode(text, add_special_tokens=False).ids
    assert len(words._numbers) == 5
    assert "longword" * 9 not in words._numbers


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char", "kmer"])
def test_other_pipelines_are_refused(kind: str) -> None:
    assert remembered(train([TEXT], kind, 300)[0]._backend) is None


def test_added_tokens_are_refused() -> None:
    backend = pipeline("wordpiece", train([TEXT], "wordpiece", 200)[0]._backend.model, False, 0)
    finish("wordpiece", backend)
    assert remembered(backend) is not None
    backend.add_tokens([AddedToken("two words")])
    assert remembered(backend) is None
    tokenizer = Tokenizer(backend)
    assert tokenizer.tokens(tokenizer.encode("some two words").tokens)[-1] == "two words"
