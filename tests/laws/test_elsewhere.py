"""What is computed on a device is computed there, and asks for nothing that devices do not all have: every objective,
core, task and way of writing on an accelerator that is not there (`elsewhere`), with what comes out in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import PLACE, Elsewhere, elsewhere, move
from fewshot_tools import bart, bert, gpt
from nn_tools import EVERY_CORE
from task_tools import CASES, model_of, tokenizer
from torch import Tensor, nn
from training_tools import MADE, masked, step_of, stream_of
from writing_tools import a_writer

from didact.config import Decoder, ModelConfig
from didact.generation import WRITER
from didact.generation.conditional import score_after
from didact.generation.mask_predict import mask_predict
from didact.generation.masked import Blank, fill_in
from didact.generation.score import score
from didact.model import Model, Pretrained
from didact.objectives import Objective
from didact.tasks import Embed, Translate
from didact.tasks.answering import answer, forced
from didact.training.clipping import clip
from didact.training.optim import AdamW, trained


def learned(objective: Objective, changes: dict[str, Any], away: bool) -> tuple[float, list[Tensor]]:
    """A step's loss, and its gradients; the optimizer then steps."""
    step = step_of(objective, seed=3, init_std=0.3, **changes)
    batches = next(iter(stream_of(objective, 6, 256, seed=5).look()))
    if away:
        move(step)
        batches = [batch.to(PLACE) for batch in batches]
    optimizer = AdamW(1e-3).build(step)
    total = 0.0
    for batch in batches:
        loss = step(batch).scaled(dict.fromkeys(batch.counts, 10.0))
        loss.backward()
        total += loss.item()
    weights = [p for _, p in trained(step)]
    gradients = [torch.zeros(()) if p.grad is None else p.grad.to_dense().cpu().clone() for p in weights]
    clip(weights, 1.0, optimizer)
    optimizer.step()
    assert all(isinstance(p.detach(), Elsewhere) is away for p in weights)
    return total, gradients


def check_learning(objective: Objective, changes: dict[str, Any]) -> None:
    """One step, dropout off."""
    here = learned(objective, changes, away=False)
    with elsewhere():
        there = learned(objective, changes, away=True)
    assert there[0] == pytest.approx(here[0], rel=1e-4)
    for a, b in zip(here[1], there[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("objective", MADE, ids=lambda o: type(o).__name__)
def test_every_objective_is_learned(objective: Objective) -> None:
    check_learning(objective, {"dropout": 0.0})


@pytest.mark.parametrize("name", EVERY_CORE)
def test_every_core_learns(name: str) -> None:
    untied = {"tied": False} if EVERY_CORE[name].get("core") == "recurrent" else {}
    check_learning(masked(), {"dropout": 0.0, **untied, **EVERY_CORE[name]})


def both(model: nn.Module, act: Callable[[nn.Module], Any]) -> tuple[Any, Any]:
    """What comes of an act here, and of the same there."""
    here, away = act(model), move(copy.deepcopy(model))
    with elsewhere():
        return here, act(away)


@pytest.mark.parametrize("name", CASES)
def test_every_task_is_answered(name: str) -> None:
    task, records = CASES[name]
    items = task.items(records)
    task = task if isinstance(task, Embed) else task.learn(items)
    dataset = task.dataset(items, tokenizer("wordpiece"))
    model = model_of(name, task, 16, 0).eval()

    def act(model: Any) -> Any:
        return forced(model, task, dataset) if task.written else task.decode(dataset, answer(model, task, dataset))

    here, there = both(model, act)
    assert near(here, there), (here, there)


def near(a: Any, b: Any) -> bool:
    if is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(near(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return near(a.tolist(), np.asarray(b).tolist())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(near, a, b))
    return a == pytest.approx(b, rel=1e-4, abs=1e-5) if isinstance(a, float) else a == b


WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"sample": True, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "temperature": 0.8, "answers": 2},
    "ruled": {"repetition_penalty": 1.3, "no_repeat": 2, "minimum": 3, "banned": ("a",), "stop": ("zq",)},
    "beams": {"beams": 3, "answers": 2, "length_penalty": 0.5},
    "beams, ruled": {"beams": 3, "no_repeat": 2, "minimum": 3, "banned": ("a",), "stop": ("zq",)},
    "groups": {"beams": 4, "groups": 2, "diversity": 1.0},
    "phrases": {"beams": 3, "phrases": ("cat",)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [a_writer, bart], ids=["looks back", "has a decoder"])
def test_every_way_of_writing(kind: Callable[[], Pretrained], way: str) -> None:
    check(kind(), lambda one: one.generate(["the cat", "on the mat was"], maximum=6, **WAYS[way]))


ASKED: dict[str, tuple[Callable[[], Pretrained], Callable[[Pretrained], Any]]] = {
    "scores": (gpt, lambda one: score(one, [("a fine", " film"), ("the cat", " sat on")])),
    "scores after": (bart, lambda one: score_after(one, [("a fine film", "good"), ("a dull film", "very bad")])),
    "fills in": (bert, lambda one: fill_in(one, [Blank("a fine ", "film"), Blank("it was ", "great", " film")])),
    "fills": (bert, lambda one: one.fill("the [MASK] sat on [MASK]", 3)),
    "predicts masks": (bert, lambda one: mask_predict(one, ["the [MASK] sat [MASK] mat"], rounds=2)),
    "embeds": (bert, lambda one: one.embed(["the cat", "a fine film"]).tolist()),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_else_is_asked(name: str) -> None:
    make, act = ASKED[name]
    check(make(), act)


def check(pretrained: Pretrained, act: Callable[[Pretrained], Any]) -> None:
    here, there = both(pretrained.model, lambda model: act(replace(pretrained, model=model, writer=WRITER)))
    assert near(here, there), (here, there)


def test_copying() -> None:
    """With coverage, guidance and the model's own words: what is learned from; and what beams write."""
    words = tokenizer("wordpiece")
    config = ModelConfig(vocabulary=words.vocabulary, width=16, layers=2, heads=2, feedforward=32, segments=0)
    task = Translate(length=24, copy=True, coverage=0.5, guided=1.0, teaching="linear", teaching_k=50)
    task = task.suited(replace(config, decoder=Decoder(start=1)), words)
    model = Model(replace(config, decoder=Decoder(start=1)), task.heads(), torch.Generator().manual_seed(0)).eval()
    dataset = task.read([{"source": "the cat sat on the mat the cat", "target": "cat cat mat"}], words)
    batch = task.objective().at(0)(dataset.examples, np.zeros(1, np.uint64)).batch([0])

    def learn(model: Any) -> Any:
        loss = task.objective().at(20).loss({"main": model}, batch.to(model.device)).scaled(batch.counts)
        return loss.item()

    here, there = both(model, learn)
    assert near(here, there)
    check(
        Pretrained(model, words, "bart", task=task),
        lambda one: list(one.write(task)(dataset.examples)),
    )


def test_what_lies_in_two_places_is_found() -> None:
    """Or the laws above would say nothing."""
    there = Elsewhere(torch.ones(3))
    with elsewhere():
        for act in (
            lambda: there + torch.ones(3),
            lambda: torch.ones(3)[Elsewhere(torch.tensor([0, 1]))],
            lambda: torch.zeros(3, dtype=torch.float64, device=PLACE),
            lambda: there.double(),
            lambda: there.numpy(),
            lambda: torch.ones(2).to(there.device).add_(torch.ones(2)),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                act()
        assert (there + 1).tolist() == (there + torch.tensor(1.0)).tolist() == [2.0, 2.0, 2.0]
        assert there[torch.tensor([0, 1])].device == PLACE
