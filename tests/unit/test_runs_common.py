"""A run folder: begun with its settings and its data, it goes on with these alone."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from hub_tools import small
from run_tools import finetuning, pretraining

from didact.errors import InputError
from didact.heads import Vocabulary
from didact.runs import common, runfile
from didact.runs.schema import FinetuneRun, PretrainRun


def test_a_run_goes_on_with_the_data_that_it_was_begun_with(world: Path, tmp_path: Path) -> None:
    run = runfile.checked(FinetuneRun, finetuning(world, tmp_path / "run", world))
    file, store = tmp_path / "train.tsv", tmp_path / "store"
    sides = tmp_path / "text.{a,b}"
    for name in ("text.a", "text.b"):
        (tmp_path / name).write_text("x\n")
    shutil.copy(world / "train.tsv", file)
    shutil.copytree(world / "store", store)
    inputs = [file, store, sides, "hub:somebody/something"]
    common.begin(run, inputs)
    assert len(json.loads((run.run / common.INPUTS).read_text())) == 3
    (run.run / "metrics.jsonl").touch()
    common.begin(run, inputs)
    for changed in (file, store / "store.json", tmp_path / "text.b"):
        before = changed.read_bytes()
        changed.write_bytes(before + b" ")
        with pytest.raises(InputError, match=r"not what this run .*expected the same content, or another folder"):
            common.begin(run, inputs)
        changed.write_bytes(before)
    common.begin(run, inputs)
    common.finish(run.run, {})
    common.begin(run, inputs)
    file.write_text("moved on\n")
    with pytest.raises(InputError, match=r"train\.tsv: not what this run"):
        common.begin(run, inputs)  # its results are not those of this file
    file.unlink()
    common.begin(run, inputs)  # a finished run needs nothing any more


def test_a_result_is_read_as_it_was(tmp_path: Path) -> None:
    """What JSON cannot say of a score is no number again; what was nothing is nothing."""
    before = {
        "start": None,
        "learning_rates": {"0.1": math.nan, "0.2": 0.5},
        "seeds": {"0": {"best_step": None, "dev": {"f1": 0.5, "accuracy": math.nan}}},
    }
    common.finish(tmp_path, before)
    assert "NaN" not in (tmp_path / common.RESULT).read_text()
    after = common.finished(tmp_path)
    assert repr(after) == repr(before)


def test_a_run_that_knows_no_data_takes_what_there_is(world: Path, tmp_path: Path) -> None:
    """As one that an earlier version began."""
    run = runfile.checked(FinetuneRun, finetuning(world, tmp_path / "run", world))
    common.begin(run, [world / "train.tsv"])
    (run.run / common.INPUTS).unlink()
    (run.run / "metrics.jsonl").touch()
    common.begin(run, [world / "test.tsv"])
    assert list(json.loads((run.run / common.INPUTS).read_text())) == [str(world / "test.tsv")]


def test_other_settings_are_told_by_their_key(world: Path, tmp_path: Path) -> None:
    values = finetuning(world, tmp_path / "run", world)
    common.begin(runfile.checked(FinetuneRun, values))
    (tmp_path / "run" / "metrics.jsonl").touch()
    values["optimizer"] = {**values.get("optimizer", {}), "eps": 0.5}
    with pytest.raises(InputError, match=r"optimizer\.eps: this run was begun with .*, now 0\.5;"):
        common.begin(runfile.checked(FinetuneRun, values))


def test_a_run_goes_on_that_was_begun_before_a_key_was_there(world: Path, tmp_path: Path) -> None:
    run = runfile.checked(PretrainRun, pretraining(world, tmp_path / "run"))
    common.begin(run)
    (run.run / "metrics.jsonl").touch()
    file = run.run / common.RUN_FILE
    said = yaml.safe_load(file.read_text())
    del said["model"]["start_transferred"], said["data"]["duplicates"]
    file.write_text(yaml.safe_dump(said))
    common.begin(run)
    said["model"]["start"] = "another"
    file.write_text(yaml.safe_dump(said))
    with pytest.raises(InputError, match=r"model\.start: this run was begun with 'another', now None"):
        common.begin(run)


def test_a_folder_that_cannot_be(world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, said in ((tmp_path / "file", "a file; expected a folder"), (tmp_path / "file" / "x", "no folder")):
        with pytest.raises(InputError, match=said):
            common.begin(runfile.checked(FinetuneRun, finetuning(world, folder, world)))


def test_null_is_a_score_that_is_undefined() -> None:
    """And stays null where no score stands."""
    told = {"start": None, "validation": {"loss": math.nan}, "seeds": {"0": {"dev": {"f1": math.nan}, "test": None}}}
    (found,) = [common.heard(json.loads(json.dumps(common.spoken(told))))]
    assert (found["start"], found["seeds"]["0"]["test"]) == (None, None)
    assert math.isnan(found["validation"]["loss"])
    assert math.isnan(found["seeds"]["0"]["dev"]["f1"])


def test_what_came_with_didact_may_not_change_beneath_a_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the architecture that fresh weights take."""
    shipped = tmp_path / "shipped" / "small"
    small(shipped, {"vocabulary": Vocabulary()})
    monkeypatch.setattr(sys.modules["didact.hub.fetch"], "SHIPPED", shipped.parent)
    for name, changed in (("start", "model.safetensors"), ("scratch", "config.json")):
        values = finetuning(world, tmp_path / name, "small") | {"scratch": name == "scratch"}
        run = runfile.checked(FinetuneRun, values)
        common.begin(run, run.inputs)
        (run.run / "metrics.jsonl").touch()
        common.begin(run, run.inputs)
        (shipped / changed).write_bytes((shipped / changed).read_bytes() + b" ")
        with pytest.raises(InputError, match=r"small.*: not what this run .* was begun with"):
            common.begin(run, run.inputs)
