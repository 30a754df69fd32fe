"""Phrases that must be written, and texts that must not, however they are spelled."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from fewshot_tools import t5
from writing_tools import a_writer, wide

from didact.config import ModelConfig, Position
from didact.generation import WRITER, Decoding, generate
from didact.generation.generate import rules_of
from didact.generation.history import History
from didact.generation.rules import apply
from didact.generation.ways import PromptError, Way
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

CORPUS = ["the cat sat on the mat, and the cats were not concatenated. 我爱北京 naïve façade. " * 5]


@pytest.fixture(scope="module")
def writer() -> Pretrained:
    return a_writer()


def test_phrases_and_bans_in_words(writer: Pretrained) -> None:
    (free,) = generate(writer, ["a"], maximum=12, beams=4)[0]
    (found,) = generate(writer, ["a"], maximum=12, beams=4, phrases=("xy",))[0]
    assert " xy" in found.text
    assert " xy" not in free.text
    letter = next(c for c in free.text if c.isprintable() and c not in "� ")
    (without,) = generate(writer, ["a"], maximum=12, beams=4, banned=(letter,))[0]
    assert letter not in without.text


@pytest.mark.parametrize("kind", ["gpt2", "bpe", "wordpiece", "unigram"])
def test_a_text_is_its_tokens_surfaces(kind: Any) -> None:
    """Whatever tokens: what a decoder writes, but for white space at the two ends."""
    tokenizer, _ = train(CORPUS, kind, 330 if kind in ("gpt2", "bpe") else 70, cased=True)
    rng = np.random.default_rng(0)
    for _ in range(300):
        tokens = rng.integers(tokenizer.vocabulary, size=8).tolist()
        said = b"".join(tokenizer.surfaces[token] for token in tokens).decode(errors="replace").strip()
        written = tokenizer.decode(tokens).strip()
        assert said == written.removeprefix(tokenizer.continuation)


@pytest.mark.parametrize("settings", [{}, {"beams": 3}, {"sample": True, "answers": 3}], ids=str)
@pytest.mark.parametrize("kind", ["gpt2", "wordpiece"])
def test_a_banned_text_is_not_written_in_other_pieces(kind: Any, settings: dict[str, Any]) -> None:
    """Letters, pairs and halves of characters of what would be written: never there, however spelled."""
    tokenizer, _ = train(CORPUS, kind, 330 if kind == "gpt2" else 70, cased=True)
    config = ModelConfig(
        vocabulary=tokenizer.vocabulary, width=16, layers=1, heads=2, feedforward=16, segments=0, pooler=False,
        position=Position(maximum=64), visibility="causal",
    )  # fmt: skip
    model = Model(config, {"vocabulary": Vocabulary()}).eval()
    wide(model, 3)
    pretrained = Pretrained(model, tokenizer, "gpt2", writer=WRITER)
    tried = 0
    for prompt in ("the cat", "mat"):
        for _ in range(6):
            (free, *_) = pretrained.generate([prompt], maximum=24, **settings)[0]
            words = [free.text[i : i + n] for n in (1, 2, 3) for i in range(2, len(free.text) - 3, 5)]
            banned = tuple(word for word in words if word.strip() == word and "�" not in word)[:8]
            if not banned:
                break
            tried += 1
            for answer in pretrained.generate([prompt], maximum=24, banned=banned, **settings)[0]:
                assert not [text for text in banned if text in answer.text]
            if "sample" in settings:
                settings = settings | {"seed": tried}
    assert tried > 4


def forbidden(tokenizer: Tokenizer, banned: tuple[str, ...], tokens: list[int]) -> bool:
    """Whether a model that wants to write these tokens is stopped."""
    rules = rules_of(Decoding(banned=banned), Way(cast(Any, None), True, ()), tokenizer)
    found = []
    for n, token in enumerate(tokens):
        history = History([[]], 1, len(tokens), torch.device("cpu"))
        for before in tokens[:n]:
            history.add(torch.tensor([[before]]))
        said = apply(rules, torch.zeros(1, 1, tokenizer.vocabulary), history)
        found.append(bool(said[0, 0, token] == -math.inf))
    return any(found)


def test_a_ban_is_read_as_the_tokenizer_reads() -> None:
    """Without capitals and accents where it has none, in other words' pieces too; Chinese apart as it is there."""
    uncased, _ = train(CORPUS, "wordpiece", 70)
    cased, _ = train(CORPUS, "wordpiece", 70, cased=True)
    concatenated = uncased.encode("concatenated").tokens.tolist()
    assert uncased.encode("cat").tokens[0] not in concatenated
    assert forbidden(uncased, ("Cat",), concatenated)
    assert forbidden(uncased, ("Naïve",), uncased.encode("a naive").tokens.tolist())
    assert forbidden(uncased, ("我爱",), uncased.encode("北我爱").tokens.tolist())
    assert not forbidden(uncased, ("Dog",), concatenated)
    assert not forbidden(cased, ("Cat",), cased.encode("concatenated").tokens.tolist())
    assert (uncased.as_read(" Naïve  CAT "), uncased.as_read("我爱"), cased.as_read("Cat")) == (
        " naive  cat ",
        "我 爱",
        "Cat",
    )


def test_a_ban_of_what_cannot_be_written_forbids_nothing() -> None:
    """Its unknown token would stand for other texts, too."""
    tokenizer, _ = train(CORPUS, "wordpiece", 70)
    assert tokenizer.unk is not None
    assert not forbidden(tokenizer, ("🙂", "a 🙂"), [tokenizer.unk, *tokenizer.encode("the a").tokens.tolist()])


def test_a_phrase_with_a_space_of_its_own(writer: Pretrained) -> None:
    found, same = (generate(writer, ["a"], maximum=12, beams=4, phrases=(p,))[0][0] for p in ("xy", " xy"))
    assert found == same


def test_phrases_that_overlap_have_room(writer: Pretrained) -> None:
    """Nine bytes in all, four of them where each stands in the longest."""
    (found, *_) = generate(writer, ["a"], maximum=5, beams=64, phrases=(" abc", " a", " ab"))[0]
    assert " abc" in found.text


def test_a_phrase_without_spaces(writer: Pretrained) -> None:
    (found,) = generate(writer, ["a"], maximum=12, beams=4, phrases=("我",))[0]
    assert "我" in found.text
    assert " 我" not in found.text


def test_a_sentinel_that_is_shown_can_be_banned() -> None:
    model = t5()
    name = model.tokenizer.token(model.tokenizer.sentinels[1])
    drawn: dict[str, Any] = {"sample": True, "answers": 40, "maximum": 12, "special": True}
    prompt = ["the <extra_id_0> sat"]
    assert any(name in one.text for one in generate(model, prompt, **drawn)[0])
    assert not any(name in one.text for one in generate(model, prompt, banned=[name], **drawn)[0])


@pytest.mark.parametrize("settings", [{}, {"sample": True}, {"beams": 3}], ids=["greedy", "drawn", "beams"])
def test_where_nothing_is_left_nothing_is_written(settings: dict[str, Any]) -> None:
    """Of so few words, none of which may come twice, no long text can be made."""
    tokenizer = train(["A C G T"] * 5, "word", 20)[0]
    config = ModelConfig(
        vocabulary=tokenizer.vocabulary, width=16, layers=1, heads=2, feedforward=16, segments=0, visibility="causal"
    )
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)).eval()
    own = {"no_repeat": 1, "minimum": 40, "maximum": 40, **settings}
    one = Pretrained(model, tokenizer, "gpt2", writer=WRITER)
    assert len(one.generate(["A", "C G"], maximum=3, **settings)) == 2
    with pytest.raises(PromptError, match=r"prompt [12]: nothing can be written by these rules; expected fewer rules"):
        one.generate(["A", "C G"], **own)
    if "beams" not in settings:
        with pytest.raises(PromptError, match="prompt 1: nothing can be written"):
            list(one.stream("A", **own))
