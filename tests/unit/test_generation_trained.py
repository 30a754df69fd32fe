"""What training saw is what writing reads: losses against likelihoods, prefixes that are read whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from writing_tools import a_writer

import didact
from didact import hub
from didact.batch import Batch, Labels, Side
from didact.generation import generate, score
from didact.generation.borders import Pieces as PiecesOf
from didact.generation.score import score_pieces
from didact.model import Pretrained
from didact.objectives import Causal, PrefixLM
from didact.packed import Packed
from didact.tokenization.tokenizer import frame
from didact.visibility import prefix

PROMPTS = ["the cat", "a", "Заяц 🙂 бежал", "one two three four five"]


@pytest.fixture(scope="module")
def writer() -> Pretrained:
    return a_writer()


def test_training_and_writing_agree(writer: Pretrained) -> None:
    """The objective's loss of a text is the likelihood of its tokens."""
    text = "the cat sat"
    example = frame(writer.tokenizer, writer.tokenizer.encode(text))
    batch = Causal()([example], np.zeros(1, np.uint64)).batch([0])
    with torch.inference_mode():
        loss = Causal().loss({"main": writer.model}, batch).parts["clm"].total
    (found,) = score(writer, [(text[:1], text[1:])])
    assert found.total == pytest.approx(-float(loss), abs=1e-3)
    assert found.tokens == len(example.tokens) - 1


PREFIX = {"kind": "combined", "parts": [{"kind": "prefix_lm"}, {"kind": "causal"}]}


def whole_first(pretrained: Pretrained, tokens: list[int], length: int) -> torch.Tensor:
    """Every row's logits where the first `length` rows see each other."""
    packed, rows = Packed.of([tokens]), torch.arange(len(tokens))
    with torch.no_grad():
        return pretrained.model(
            Batch(Side(packed, prefix(packed.positions, length)), (Labels("vocabulary", rows, rows),))
        )[0]


@pytest.mark.parametrize("objective", [{"kind": "prefix_lm"}, PREFIX], ids=["alone", "combined"])
def test_a_prompt_is_read_as_prefixes_were(writer: Pretrained, objective: dict[str, Any], tmp_path: Path) -> None:
    """A model of `prefix_lm` sees the whole of what it goes on with, also once it has been written to a folder."""
    hub.export(replace(writer, objective=objective), tmp_path)
    model = didact.load(tmp_path)
    assert model.prefixed
    assert not writer.prefixed
    differ = 0
    for prompt, (answer,) in zip(PROMPTS, model.generate(PROMPTS, maximum=6), strict=True):
        tokens = model.tokenizer.encode(prompt).tokens.tolist()
        for n, found in enumerate(answer.tokens):
            said = whole_first(model, [*tokens, *answer.tokens[:n]], len(tokens))[-1]
            assert found == int(said.argmax())
        differ += answer.tokens != generate(writer, [prompt], maximum=6)[0][0].tokens
    assert differ
    beams = model.generate(PROMPTS, maximum=6, beams=3)
    for prompt, (answer, *_) in zip(PROMPTS, beams, strict=True):
        tokens = model.tokenizer.encode(prompt).tokens.tolist()
        rows = whole_first(model, [*tokens, *answer.tokens], len(tokens)).log_softmax(1)[len(tokens) - 1 : -1]
        total = float(rows.gather(1, torch.tensor(answer.tokens)[:, None]).sum())
        assert answer.score == pytest.approx(total / len(answer.tokens), abs=1e-4)


def test_scores_after_a_prefix(writer: Pretrained) -> None:
    """Of continuations that share a prompt, of prompts that begin alike, in one pack."""
    model = replace(writer, objective={"kind": "prefix_lm"})
    pairs = [("the cat", " s"), ("the cat", " sat"), ("the cat s", "at"), ("the", " cat sat"), ("", "the cat")]
    for (context, continuation), found in zip(pairs, score(model, pairs), strict=True):
        before = model.tokenizer.encode(context).tokens.tolist() or [model.tokenizer.eos]
        after = model.tokenizer.encode(continuation).tokens.tolist()
        rows = whole_first(model, [*before, *after], len(before)).log_softmax(1)[len(before) - 1 : -1]
        expected = rows.gather(1, torch.tensor(after)[:, None])[:, 0]
        assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("key", range(1, 5))
def test_prefix_training_and_writing_agree(writer: Pretrained, key: int) -> None:
    """The objective's loss of what follows a prefix is its likelihood after it."""
    example = frame(writer.tokenizer, writer.tokenizer.encode("the cat sat on the mat"))
    batch = PrefixLM()([example], np.array([key * 0x9E3779B97F4A7C15 % 2**64], np.uint64)).batch([0])
    with torch.inference_mode():
        loss = PrefixLM().loss({"main": writer.model}, batch).parts["prefix_lm"].total
    length = len(example.tokens) - len(batch.labels[0].rows)
    asked = PiecesOf(example.tokens[:length], example.tokens[length:])
    (found,) = score_pieces(replace(writer, objective={"kind": "prefix_lm"}), [asked])
    assert found.total == pytest.approx(-float(loss), abs=1e-3)
