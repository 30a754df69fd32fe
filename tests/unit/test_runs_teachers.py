"""Runs that learn from a teacher: what goes with it, what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from run_tools import SMALL, pretraining, small
from transformers import AutoModelForMaskedLM

from didact import hub
from didact.errors import InputError
from didact.exchange import keys
from didact.families import T5
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.runs import runfile
from didact.runs.inspect import inspect_run
from didact.runs.pretrain import assemble, pretrain
from didact.runs.schema import PretrainRun
from didact.tokenization.tokenizer import Tokenizer
from didact.training.state import read_tensors


def run_of(world: Path, folder: Path, **changes: Any) -> PretrainRun:
    return runfile.checked(PretrainRun, pretraining(world, folder, **changes))


TAUGHT: dict[str, Any] = {
    "model": SMALL | {"family": "distilbert", "position": {"maximum": 64}},
    "objective": {"masked": {"weight": 2.0}, "distilled": {}},
}


def test_a_student_and_its_teacher(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """The teacher teaches, is not moved, and is not what is exported; the student begins as some of its layers."""
    values = TAUGHT | {"model": TAUGHT["model"] | {"start_thinned": str(pretrained)}, "teacher": str(pretrained)}
    parts = assemble(run_of(world, tmp_path / "r", **values))
    before = hub.load(pretrained).model.state_dict()
    assert torch.equal(parts.models["main"].core.embedding.word.weight, before["core.embedding.word.weight"])
    run = pretrain(run_of(world, tmp_path / "r", **values))
    result = json.loads((run / "result.json").read_text())
    assert {"mlm@15/loss", "soft/loss", "soft/accuracy", "cosine/loss"} <= result["validation"].keys()
    state = dict(read_tensors(run / "last" / "state", "weights"))
    taught = {name: t for name, t in state.items() if name.startswith("models.teacher.")}
    assert taught
    assert all(torch.equal(t, before[name.removeprefix("models.teacher.")]) for name, t in taught.items())
    assert not any(name.startswith("models.teacher.") for name, _ in read_tensors(run / "last" / "state", "optimizer"))
    student = hub.load(run)
    assert student.family == "distilbert"
    assert not torch.equal(student.model.core.embedding.word.weight, before["core.embedding.word.weight"])
    theirs, loading = AutoModelForMaskedLM.from_pretrained(run / "last", output_loading_info=True)
    assert type(theirs).__name__ == "DistilBertForMaskedLM"
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "teacher: found none; expected one"),
        ({"teacher": "HERE", "model": small("unilm"), "objective": {"unilm": {}, "distilled": {}}}, "knows 2 segments"),
        (
            {"teacher": "HERE", "model": small("xlnet"), "objective": {"permuted": {}, "distilled": {}}},
            "has no query rows, which the objective asks",
        ),
        ({"teacher": "T5"}, "has a decoder, which answers"),
        ({"teacher": "HERE", "objective": {"masked": {}}}, "expected none, for the objective asks none"),
        (
            {"teacher": "HERE", "model": TAUGHT["model"] | {"width": 8}},
            "is 16 wide, the model 8; expected equal widths",
        ),
        (
            {"teacher": "HERE", "model": TAUGHT["model"] | {"start_thinned": "HERE", "layers": 2}},
            "model.start_thinned: 2 layers out of 1",
        ),
        (
            {"teacher": "HERE", "model": TAUGHT["model"] | {"start_thinned": "HERE", "vocabulary_bias": "frequencies"}},
            "one thing that says how the weights begin, not start_thinned and vocabulary_bias",
        ),
        (
            {"teacher": "HERE", "data": {"length": 65}, "model": TAUGHT["model"] | {"position": {"maximum": 99}}},
            "data.length: found 65; expected at most 64, the teacher's positions",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_teacher_that_does_not_fit_is_refused(
    world: Path, pretrained: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    text = json.dumps(pretraining(world, tmp_path / "r") | TAUGHT | changes)
    values = json.loads(text.replace('"HERE"', json.dumps(str(pretrained))))
    if changes.get("teacher") == "T5":
        words = Tokenizer.load(world / "tokenizer")
        sizes = {"width": 16, "heads": 2, "head_width": 8, "layers": 1, "feedforward": 32}
        model = Model(keys.changed(T5.base_for(words), sizes), {"vocabulary": Vocabulary()})
        hub.export(Pretrained(model, words, "t5"), tmp_path / "t5")
        values["teacher"] = str(tmp_path / "t5")
    values["data"] = pretraining(world, tmp_path / "r")["data"] | changes.get("data", {})
    with pytest.raises(InputError) as problem:
        pretrain(runfile.checked(PretrainRun, values))
    assert said in str(problem.value)
    assert not (tmp_path / "r" / "metrics.jsonl").exists()


def test_a_teacher_must_have_learned_it(world: Path, pretrained: Path, tmp_path: Path) -> None:
    bare = hub.load(pretrained, {})
    hub.export(bare, tmp_path / "bare")
    with pytest.raises(InputError, match=r"teacher: .* has no heads\.vocabulary"):
        assemble(run_of(world, tmp_path / "r", **TAUGHT, teacher=str(tmp_path / "bare")))


def test_a_look_at_a_batch_beside_a_teacher(
    world: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = pretraining(world, tmp_path / "r") | TAUGHT | {"teacher": str(pretrained)}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    inspect_run(path, (), 3)
    shown = capsys.readouterr().out
    assert "teacher    " in shown
    assert "soft" in shown
    assert "[MASK]←" in shown
    assert "←[PAD]" not in shown  # what only the teacher answers hides nothing
