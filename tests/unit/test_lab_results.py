"""What is read from finished runs' folders."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from didact.errors import InputError
from didact.lab.cells import PRETRAIN, Cell
from didact.lab.results import Results, Score, collect
from didact.runs.runfile import checked
from didact.runs.schema import FinetuneRun, PretrainRun


def tuned(folder: Path, lines: list[Any] | None = None, **result: Any) -> Cell:
    values = {"run": str(folder), "start": "s", "task": {"classify": {}}, "data": {"train": "a.tsv"}}
    of_seed = {"learning_rate": 1e-4, "dev": {"accuracy": 0.7}, "test": {"accuracy": 0.5}}
    of_seed |= {"steps": 5, "seconds": 1.5, "flops": 1e9}
    (folder / "seed-3").mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"seeds": {"3": of_seed}, "main": "accuracy"} | result))
    if lines is not None:
        (folder / "seed-3/predictions-test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Cell("a", 3, "topic", checked(FinetuneRun, values))


def test_a_fine_tuning(tmp_path: Path) -> None:
    found = collect([tuned(tmp_path / "f", [{"label": "x"}, {"label": "y"}])])
    assert found.scores == (
        Score("a", 3, "topic", "dev", "accuracy", 0.7),
        Score("a", 3, "topic", "test", "accuracy", 0.5),
    )
    assert found.metrics() == (("topic", "test", "accuracy"),)
    assert found.answers["a", "topic"] == {3: [{"label": "x"}, {"label": "y"}]}
    assert (found.spent[0].rate, found.spent[0].steps) == (1e-4, 5)


def test_rates_not_taken_are_counted_but_those_that_diverged(tmp_path: Path) -> None:
    """A rate that broke off has no steps to count."""
    cell = tuned(tmp_path / "f")
    cell = replace(cell, run=cell.run.model_copy(update={"learning_rates": (1e-4, 3e-4, 1.0)}))
    for rate, result in ((3e-4, {"steps": 7, "seconds": 2.0, "flops": 2e9}), (1.0, {"failed": "not a number"})):
        (cell.folder / f"seed-3/rate-{rate:g}").mkdir()
        (cell.folder / f"seed-3/rate-{rate:g}/result.json").write_text(json.dumps(result))
    assert [(s.rate, s.steps) for s in collect([cell]).discarded] == [(3e-4, 7)]


def test_what_is_compared() -> None:
    split = {"validation": ["loss", "mlm@15/loss", "mlm@15/bits_per_token", "mlm@15/accuracy"], "dev": ["f1"]}
    scores = tuple(Score("a", 0, "pretrain", "validation", m, 1.0) for m in split["validation"])
    dev = (Score("a", 0, "topic", "dev", "f1", 1.0),)
    kept = [("pretrain", "validation", "mlm@15/loss"), ("pretrain", "validation", "mlm@15/accuracy")]
    assert Results(scores + dev).metrics() == (*kept, ("topic", "dev", "f1"))
    test = (Score("a", 0, "topic", "test", "f1", 1.0),)
    assert Results(scores + dev + test).metrics() == (*kept, ("topic", "test", "f1"))


def test_a_pre_training(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    result = {
        "steps": 10,
        "tokens": 1000,
        "seconds": 2.0,
        "flops": 1e12,
        "validation": {"mlm@15/loss": 2.5},
        "best": 2.5,
    }
    (folder / "result.json").write_text(json.dumps(result))
    run = checked(PretrainRun, {"run": str(folder), "data": {"train": "x"}, "budget": {"steps": 10}})
    found = collect([Cell("a", 0, PRETRAIN, run)])
    assert found.of("a", PRETRAIN, "validation", "mlm@15/loss") == {0: 2.5}
    assert (found.spent[0].tokens, found.spent[0].rate) == (1000, 5e-4)


def test_texts_with_other_line_ends_are_one_line(tmp_path: Path) -> None:
    """U+2028, U+2029 and U+0085 end a line for Python; in JSON they are letters like others."""
    cell = tuned(tmp_path / "f")
    rows = [{"target": "one\u2028two\u2029three\u0085four"}, {"target": "five"}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (cell.folder / "seed-3/predictions-test.jsonl").write_text(text, encoding="utf-8")
    assert collect([cell]).answers["a", "topic"] == {3: rows}


def test_what_is_undefined_is_not_a_number(tmp_path: Path) -> None:
    """result.json says null."""
    of_seed = {"learning_rate": 1e-4, "test": {"pearson": None}, "steps": 5, "seconds": 1.5, "flops": 1e9}
    found = collect([tuned(tmp_path / "f", seeds={"3": of_seed})])
    assert math.isnan(found.of("a", "topic", "test", "pearson")[3])


def test_strange_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"result\.json: not a run's result"):
        collect([tuned(tmp_path / "f", None, seeds={})])
    cell = tuned(tmp_path / "g", [])
    (cell.folder / "seed-3/predictions-test.jsonl").write_text("{\n")
    with pytest.raises(InputError, match=r"predictions-test\.jsonl:1: not JSON"):
        collect([cell])
