"""By run file alone: every task that is answered from rows, from a start with a decoder; evaluated and predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_tools import writing_start

from didact import hub
from didact.heads import Span
from didact.runs import runfile, use
from didact.runs.finetune import finetune
from didact.runs.schema import FinetuneRun

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
FILES = {
    "classify": "{}.tsv",
    "pair": "pair-{}.tsv",
    "tag": "{}.conll",
    "answer": "{}.json",
    "choose": "choice-{}.jsonl",
}


# All families with all tasks: tests/laws/test_tasks_of_decoders.py.
CASES = [(family, recipe) for family in ("bart", "t5") for recipe in FILES]
CASES += [("mass", "answer"), ("mass", "classify"), ("transformer", "choose"), ("transformer", "pair")]


@pytest.mark.parametrize(("family", "recipe"), CASES)
def test_recipes_from_a_start_with_a_decoder(family: str, recipe: str, world: Path, tmp_path: Path) -> None:
    start = writing_start(world, tmp_path / "start", family)
    values: dict[str, Any] = yaml.safe_load((FOLDER / f"{recipe}.yaml").read_text())
    ((kind, own),) = values["task"].items()
    values |= {
        "run": str(tmp_path / "run"),
        "start": str(start),
        "task": {kind: {key: value for key, value in (own or {}).items() if key != "stride"}},
        "data": {split: str(world / FILES[recipe].format(split)) for split in ("train", "dev", "test")},
        "length": 64,
        "batch": {"size": "8 sequences", "micro_tokens": 128},
        "budget": {"steps": 2},
        "seeds": [0],
        "hardware": {"compile": "off", "precision": "fp32"},
        "quiet": True,
    }
    run = finetune(runfile.checked(FinetuneRun, values))
    result = json.loads((run / "result.json").read_text())
    test = world / FILES[recipe].format("test")
    use.evaluate_files(str(run), [test], None, tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())[str(test)]
    main = result["main"]
    assert scores["scores"][main]["value"] == pytest.approx(result["seeds"]["0"]["test"][main], abs=1e-9)
    use.predict_files(str(run), [test], tmp_path / "predictions.jsonl")
    predicted = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    kept = [json.loads(line) for line in (run / "seed-0" / "predictions-test.jsonl").read_text().splitlines()]
    assert len(predicted) == len(kept) > 0
    for a, b in zip(predicted, kept, strict=True):
        key = {"tag": "tags", "answer": "answer"}.get(recipe, "label")
        assert a[key] == b[key]


def test_another_task_is_suited_to_a_decoder(world: Path, tmp_path: Path) -> None:
    """`didact evaluate --task` of a model that has the head and no task, as transformers writes one."""
    start = writing_start(world, tmp_path / "start", "bart")
    hub.export(hub.load(start, {"span": Span()}), tmp_path / "model")
    task = "answer: {stride: 16, length: 48}"
    use.evaluate_files(str(tmp_path / "model"), [world / "test.json"], task, tmp_path / "scores.json")
    assert "f1" in json.loads((tmp_path / "scores.json").read_text())[str(world / "test.json")]["scores"]
