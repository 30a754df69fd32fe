"""Run files: read, changed from the command line, checked, written back."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from didact import objectives
from didact.errors import InputError
from didact.runs import runfile
from didact.runs.schema import FinetuneRun, PretrainRun

MINIMAL: dict[str, Any] = {"run": "r", "data": {"train": "store"}, "budget": {"steps": 10}}


def written(folder: Path, values: Any) -> Path:
    path = folder / "run.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), encoding="utf-8")
    return path


def test_quantities_have_units(tmp_path: Path) -> None:
    run = runfile.read(written(tmp_path, MINIMAL), PretrainRun, ["batch.size=32_768 tokens"])
    assert run.batch.size == (32768, "tokens")
    assert runfile.read(written(tmp_path, MINIMAL), PretrainRun, ["batch.size=1 sequence"]).batch.size == (
        1,
        "sequences",
    )


def test_on_and_off_are_words(tmp_path: Path) -> None:
    """YAML reads them as true and false."""
    for text, meant in (("off", "off"), ("on", "on"), ("auto", "auto"), ('"off"', "off")):
        change = f"hardware.compile={text}"
        assert runfile.read(written(tmp_path, MINIMAL), PretrainRun, [change]).hardware.compile == meant


def test_changes_reach_any_depth_and_make_sections(tmp_path: Path) -> None:
    changes = ["model.position.maximum=64", "objective.masked.rate=0.3", "seed=7", "plugins=[a, b]"]
    run = runfile.read(written(tmp_path, MINIMAL), PretrainRun, changes)
    assert run.model.changes == {"position": {"maximum": 64}}
    assert run.objective == {"masked": {"rate": 0.3}}
    assert (run.seed, run.plugins) == (7, ("a", "b"))


def test_the_resolved_file_repeats_the_run(tmp_path: Path) -> None:
    run = runfile.read(written(tmp_path, MINIMAL), PretrainRun, ["batch.size=16 sequences", "model.layers=3"])
    again = runfile.read(written(tmp_path, runfile.dump(run)), PretrainRun)
    assert again == run
    assert "learning_rate" in runfile.dump(run), "defaults are written out"


@pytest.mark.parametrize(
    ("values", "changes", "said"),
    [
        (MINIMAL, ["optimizer.learnig_rate=1"], "optimizer.learnig_rate: unknown key; expected one of learning_rate"),
        (MINIMAL, ["batch.size=32"], 'batch.size: found 32; expected a number and its unit, "256 sequences"'),
        (MINIMAL, ["batch.size=3 pages"], "batch.size: found '3 pages'"),
        (MINIMAL, ["budget.epochs=3"], "exactly one of steps, epochs, tokens, minutes"),
        (MINIMAL, ["schedule.warmup=1.5"], "schedule.warmup: found 1.5; expected less than 1"),
        (MINIMAL, ["run.folder=x"], "run.folder: run is 'r', it has no keys"),
        (MINIMAL, ["seed"], "found 'seed'; expected section.key=value"),
        (MINIMAL, ["seed=[1"], "seed: cannot read '[1'"),
        ({"run": "r", "budget": {"steps": 1}}, [], "data: missing"),
        ("- a\n- b\n", [], "run.yaml: found list; expected keys and values"),
        ("run: a\nseed: [1\n", [], "run.yaml:3: not YAML"),
        ("run: a\nbudget: {steps: 1,\n  steps: 2}\n", [], "run.yaml:3: not YAML: 'steps' stands there twice"),
        ("run: a\nseed: \a1\n", [], "run.yaml:2: not YAML: special characters"),
    ],
)
def test_mistakes_are_one_line_with_the_key(tmp_path: Path, values: Any, changes: list[str], said: str) -> None:
    with pytest.raises(InputError) as problem:
        runfile.read(written(tmp_path, values), PretrainRun, changes)
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_missing_file_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run file"):
        runfile.read(tmp_path / "none.yaml", PretrainRun)
    path = tmp_path / "latin.yaml"
    path.write_bytes("run: caf\xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml: cannot be read"):
        runfile.read(path, PretrainRun)
    path.write_text(yaml.safe_dump(MINIMAL), encoding="utf-8-sig")
    assert runfile.read(path, PretrainRun).run == Path("r")


def test_every_recipe_is_a_run_file() -> None:
    recipes = Path(__file__).resolve().parents[2] / "recipes"
    for path in sorted(recipes.glob("*.yaml")):
        if "glue" in runfile.values_of(path):
            continue
        schema = PretrainRun if "objective" in yaml.safe_load(path.read_text()) else FinetuneRun
        run = runfile.read(path, schema)
        assert run.run == Path("runs") / path.stem, "each recipe has a folder of its own"


def test_plugins_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, room, _ in runfile.REGISTRIES:
        module = importlib.import_module(room)
        monkeypatch.setattr(module, registry, getattr(module, registry))  # as they were, after the test
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_plugin_of_the_test.py").write_text(
        "from dataclasses import dataclass\nfrom didact.objectives import NextSentence\nfrom didact.tasks import Tag\n"
        "@dataclass(frozen=True)\nclass Mine(NextSentence):\n    kind = 'mine'\n"
        "OBJECTIVES = (Mine,)\nTASKS = (Tag,)\n"
    )
    (tmp_path / "twin_plugin_of_the_test.py").write_text(
        "from didact.objectives import NextSentence\nclass Twin(NextSentence):\n    pass\nOBJECTIVES = (Twin,)\n"
    )
    runfile.load_plugins(["own_plugin_of_the_test"])
    runfile.load_plugins(["own_plugin_of_the_test"])  # a grid's cells load them again
    assert [cls.kind for cls in objectives.OBJECTIVES].count("mine") == 1
    assert objectives.from_json({"kind": "mine"}).relation == "next"
    with pytest.raises(InputError, match="there is a 'next_sentence' already"):
        runfile.load_plugins(["twin_plugin_of_the_test"])
    with pytest.raises(InputError, match="plugins: cannot import 'no_such_plugin_here'"):
        runfile.load_plugins(["no_such_plugin_here"])
