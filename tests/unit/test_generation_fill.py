"""Blanks: pseudo-likelihoods and mask-predict by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from writing_tools import a_filler, a_writer, logits_of, wide

from didact.config import ModelConfig
from didact.errors import InputError
from didact.evaluation.fewshot import Fewshot, Template, reader_of
from didact.generation import WRITER, mask_predict, pseudo
from didact.generation.masked import Blank, fill_in
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer, frame


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return a_filler(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def writer() -> Pretrained:
    return a_writer()


def by_hand(pretrained: Pretrained, text: str, within_word: bool) -> list[float]:
    """Kauf & Ivanova (2023): each token hidden; with it, or not, those of its word to its right."""
    example = frame(pretrained.tokenizer, pretrained.tokenizer.encode(text))
    assert example.words is not None
    assert example.segments is not None
    mask = pretrained.tokenizer.mask
    found = []
    for row in np.flatnonzero(~example.special):
        tokens = example.tokens.tolist()
        for other in range(len(tokens)):
            same_word = example.words[other] == example.words[row]
            if other == row or (within_word and other > row and same_word):
                tokens[other] = mask
        said = logits_of(pretrained, tokens, example.segments.tolist())[row].log_softmax(0)
        found.append(float(said[example.tokens[row]]))
    return found


@pytest.mark.parametrize("within_word", [True, False])
def test_pseudo_likelihoods_by_hand(within_word: bool, tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sou", "##ven", "##ir", "a", "the", "is", "##s", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    config = ModelConfig(vocabulary=13, width=16, layers=2, heads=4, feedforward=24, pooler=False)
    model = Model(config, {"vocabulary": Vocabulary()}).eval()
    wide(model, 2)
    pretrained = Pretrained(model, Tokenizer.load(tmp_path))
    texts = ["the souvenir is a souvenirs.", "a", "souven the"]
    found = pseudo(pretrained, texts, "words" if within_word else "pseudo", batch_tokens=40)
    for text, one in zip(texts, found, strict=True):
        assert one.logprobs == pytest.approx(by_hand(pretrained, text, within_word), abs=1e-4)
    if within_word:
        assert found[0].logprobs != pytest.approx(by_hand(pretrained, texts[0], False), abs=1e-4)


def test_mask_predict_by_hand(filler: Pretrained) -> None:
    """Ghazvininejad et al. (2019), §3.2, text by text."""
    texts = ["w1 [MASK] [MASK] w3 [MASK] [MASK] [MASK]", "[MASK]", "w2 [MASK] [MASK] [MASK]"]
    tokenizer, rounds = filler.tokenizer, 4
    assert tokenizer.mask is not None
    for text, answer in zip(texts, mask_predict(filler, texts, rounds), strict=True):
        example = frame(tokenizer, tokenizer.encode(text, special=True))
        assert example.segments is not None
        tokens = example.tokens.tolist()
        blanks = [i for i, token in enumerate(tokens) if token == tokenizer.mask]
        likely = dict.fromkeys(blanks, -math.inf)
        for done in range(rounds):
            again = sorted(blanks, key=lambda i: likely[i])[: len(blanks) * (rounds - done) // rounds]
            for i in again:
                tokens[i] = tokenizer.mask
            said = logits_of(filler, tokens, example.segments.tolist())
            said[:, list(tokenizer.special_ids)] = -math.inf
            for i in again:
                best = said[i].log_softmax(0).max(0)
                tokens[i], likely[i] = int(best.indices), float(best.values)
        assert answer.tokens == tuple(tokens[i] for i in blanks)
        assert answer.score == pytest.approx(sum(likely.values()), abs=1e-4)
        assert "[MASK]" not in answer.text


def test_query_rows_fill_no_blanks(filler: Pretrained) -> None:
    """XLNet's were asked at query rows alone: what its content rows would say of a blank was never trained."""
    model = Model(replace(filler.model.config, queries=True), {"vocabulary": Vocabulary()}).eval()
    permuted = Pretrained(model, filler.tokenizer, writer=WRITER)
    task = Fewshot("t", (Template.parse("{text} {answer}"),), {"a": ("w1",), "b": ("w2",)})
    asks: tuple[Callable[[], object], ...] = (
        lambda: permuted.fill("w1 [MASK]"),
        lambda: mask_predict(permuted, ["w1 [MASK]"]),
        lambda: fill_in(permuted, [Blank("w1 ", "w2")]),
        lambda: reader_of(permuted, task),
    )
    for act in asks:
        with pytest.raises(InputError, match=r"query rows \(XLNet\) .* expected a model trained to fill blanks"):
            act()
    with pytest.raises(InputError, match="was not trained to write"):
        permuted.generate(["w1"])
