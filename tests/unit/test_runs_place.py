"""Where a model at work computes, and in which numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from didact.cli.app import app
from didact.errors import InputError
from didact.runs import place
from didact.runs.place import Place


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_of_the_type_that_is_asked(pretrained: Path, dtype: str) -> None:
    model = Place("cpu", dtype).open(str(pretrained)).model
    assert {str(p.dtype) for p in model.parameters()} == {f"torch.{dtype}"}


@pytest.mark.parametrize(
    ("device", "dtype", "said"),
    [
        ("nowhere", "float32", "device 'nowhere'; expected auto, cpu, cuda or mps"),
        ("mps", "float32", "no MPS device here; expected device: auto or cpu"),
        ("cpu", "int8", "dtype 'int8'; expected one of float32, bfloat16, float16"),
    ],
)
def test_what_is_not_there_is_said(pretrained: Path, device: str, dtype: str, said: str) -> None:
    with pytest.raises(InputError) as problem:
        Place(device, dtype).open(str(pretrained))
    assert str(problem.value) == said


@pytest.mark.parametrize(("given", "taken"), [("auto", "cpu"), ("mps", "mps")])
def test_apples_are_asked_for_by_name(
    pretrained: Path, monkeypatch: pytest.MonkeyPatch, given: str, taken: str
) -> None:
    """Where "auto" would train on one, a model at work stays on the processor."""
    moved: list[torch.device] = []
    monkeypatch.setattr(place, "pick_device", lambda _name: torch.device("mps"))
    monkeypatch.setattr(torch.nn.Module, "to", lambda _self, device, _dtype: moved.append(device))
    Place(given).open(str(pretrained))
    assert moved == [torch.device(taken)]


def test_every_verb_that_asks_a_model_has_both() -> None:
    asking = {"predict", "evaluate", "fill", "embed", "generate", "fewshot"}
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        has = {"device", "dtype"} <= command.callback.__annotations__.keys()
        assert has is (name in asking), name
