"""A model whose weights are bfloat16 or float16 is asked whatever another is, and says nearly the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_tools import bart, bert, gpt
from nn_tools import EVERY_CORE, pack, tiny
from task_tools import CASES, model_of, tokenizer
from writing_tools import a_writer

from didact.batch import Side
from didact.generation import WRITER
from didact.generation.conditional import score_after
from didact.generation.mask_predict import mask_predict
from didact.generation.masked import Blank, fill_in
from didact.generation.score import score
from didact.model import Model, Pretrained
from didact.tasks import Embed
from didact.tasks.answering import answer, forced

DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
NEAR = {torch.bfloat16: 0.05, torch.float16: 0.01}  # of the largest number: 8 and 11 bits through some layers


def in_half(model: Model, dtype: torch.dtype) -> Model:
    return copy.deepcopy(model).to(dtype)


def check(wanted: Any, found: Any, dtype: torch.dtype) -> None:
    a, b = (np.asarray(x, np.float64) for x in (wanted, found))
    assert a.shape == b.shape
    assert np.abs(a - b).max(initial=0.0) <= NEAR[dtype] * max(1.0, np.abs(a).max(initial=0.0))


@DTYPES
@pytest.mark.parametrize("name", EVERY_CORE)
@torch.no_grad()
def test_every_core(name: str, dtype: torch.dtype) -> None:
    model = Model(tiny(**({"init_std": 0.1} | EVERY_CORE[name])), {}, torch.Generator().manual_seed(0)).eval()
    side = Side(pack([5, 1, 9, 5]))
    found = in_half(model, dtype).hidden(side).main
    assert found.dtype == dtype
    check(model.hidden(side).main, found.float(), dtype)


@DTYPES
@pytest.mark.parametrize("name", CASES)
def test_every_task(name: str, dtype: torch.dtype) -> None:
    task, records = CASES[name]
    items = task.items(records)
    task = task if isinstance(task, Embed) else task.learn(items)
    dataset = task.dataset(items, tokenizer("wordpiece"))
    model = model_of(name, task, 16, 0).eval()
    other = in_half(model, dtype)
    if task.written:
        check(forced(model, task, dataset)["nll"], forced(other, task, dataset)["nll"], dtype)
        return
    for a, b in zip(answer(model, task, dataset), answer(other, task, dataset), strict=True):
        assert b.dtype == np.float32
        check(a, b, dtype)
    assert len(task.decode(dataset, answer(other, task, dataset))) == len(items)


ASKED: dict[str, tuple[Callable[[], Pretrained], Callable[[Pretrained], Any]]] = {
    "scores": (gpt, lambda one: [s.logprobs for s in score(one, [("a fine", " film")])]),
    "scores after": (bart, lambda one: [s.logprobs for s in score_after(one, [("a fine film", "good")])]),
    "fills in": (bert, lambda one: [s.logprobs for s in fill_in(one, [Blank("a fine ", "film")])]),
    "embeds": (bert, lambda one: one.embed(["the cat", "a fine film"])),
}


@DTYPES
@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked(name: str, dtype: torch.dtype) -> None:
    make, act = ASKED[name]
    one = make()
    check(act(one), act(replace(one, model=in_half(one.model, dtype))), dtype)


@DTYPES
@pytest.mark.parametrize("make", [a_writer, bart], ids=["looks back", "has a decoder"])
@pytest.mark.parametrize("settings", [{}, {"sample": True, "top_p": 0.9}, {"beams": 3, "no_repeat": 2}], ids=str)
def test_what_is_written(make: Callable[[], Pretrained], settings: dict[str, Any], dtype: torch.dtype) -> None:
    """Other tokens may be likelier, and all are written and weighed."""
    one = make()
    half = replace(one, model=in_half(one.model, dtype), writer=WRITER)
    for (written,) in half.generate(["the cat", "on the mat"], maximum=5, **settings):
        assert 1 <= len(written.tokens) <= 5
        assert np.isfinite(written.score)


@DTYPES
def test_blanks(dtype: torch.dtype) -> None:
    one = bert()
    half = replace(one, model=in_half(one.model, dtype))
    (a,), (b,) = one.fill("the [MASK] sat", 90), half.fill("the [MASK] sat", 90)
    by_token = {c.token: c.probability for c in b}
    check([c.probability for c in a], [by_token.get(c.token, c.probability) for c in a], dtype)
    assert mask_predict(half, ["the [MASK] [MASK] mat"], rounds=2)[0].tokens
