from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from didact.errors import InputError
from didact.training import checkpoint
from didact.training.checkpoint import RunFolder


def publish(run: RunFolder, step: int, **facts: Any) -> Path:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text(str(step))

    return run.publish(step, write, lambda: {"step": step, **facts})


@pytest.fixture
def run(tmp_path: Path) -> Any:
    with RunFolder(tmp_path / "run").locked() as folder:
        yield folder


def test_a_checkpoint_is_published_whole(run: RunFolder) -> None:
    place = publish(run, 20, note="first")
    assert place == run.path / "checkpoints" / "step-20"
    assert json.loads((place / "state" / "state.json").read_text()) == {"step": 20, "note": "first"}
    assert (place / "model.safetensors").read_text() == "20"
    assert run.steps() == [20]
    assert not list(run.checkpoints.glob(".*"))


def test_a_step_published_again_is_replaced(run: RunFolder) -> None:
    place = publish(run, 20, note="first")
    (place / "old").touch()
    publish(run, 20, note="validated")
    assert json.loads((place / "state" / "state.json").read_text())["note"] == "validated"
    assert not (place / "old").exists()
    assert [p.name for p in run.checkpoints.iterdir()] == ["step-20"]


@pytest.mark.parametrize("moment", range(1, 5))
def test_a_kill_while_it_is_replaced_loses_nothing(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only checkpoint there is, killed before each of the operations that make the swap."""
    with RunFolder(tmp_path).locked() as run:
        publish(run, 20, note="first")
        left = [moment]
        for module, name in ((os, "rename"), (checkpoint.shutil, "rmtree")):
            monkeypatch.setattr(module, name, partial(_killed_at_last, left, getattr(module, name)))
        with pytest.raises(KeyboardInterrupt):
            publish(run, 20, note="validated")
        monkeypatch.undo()
    with RunFolder(tmp_path).locked() as run:
        assert run.steps() == [20]
        note = json.loads((run.at(20) / "state" / "state.json").read_text())["note"]
        assert note == ("first" if moment == 1 else "validated")
        assert [p.name for p in run.checkpoints.iterdir()] == ["step-20"]


def _killed_at_last(left: list[int], do: Any, *arguments: Any, **options: Any) -> Any:
    left[0] -= 1
    if left[0] == 0:
        raise KeyboardInterrupt
    return do(*arguments, **options)


def test_failing_to_write_leaves_the_last_one(run: RunFolder) -> None:
    publish(run, 10)

    def breaks(_: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run.publish(20, breaks, dict)
    assert run.steps() == [10]


def test_links_move_at_once(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(run, 1)
    publish(run, 2)
    run.link("last", 1)
    seen = []
    replace = os.replace

    def watched(a: Any, b: Any) -> None:
        seen.append(os.readlink(run.path / "last"))
        replace(a, b)
        seen.append(os.readlink(run.path / "last"))

    monkeypatch.setattr(os, "replace", watched)
    run.link("last", 2)
    run.link("last", 2)  # is there already
    assert seen == ["checkpoints/step-1", "checkpoints/step-2"]
    assert (run.path / "last" / "model.safetensors").read_text() == "2"


def test_pruning_keeps_the_last_and_the_best(run: RunFolder) -> None:
    for step in (10, 20, 30, 100):
        publish(run, step)
    run.prune(2, best=10)
    assert run.steps() == [30, 100]
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step-10", "step-100", "step-30"]
    assert not (run.at(10) / "state").exists(), "the best one is for use, not to go on from"
    run.prune(1, best=100)
    assert [p.name for p in run.checkpoints.iterdir()] == ["step-100"]


def test_a_stateless_folder_does_not_stand_in_the_way(run: RunFolder) -> None:
    publish(run, 10)
    publish(run, 20)
    run.prune(1, best=10)
    publish(run, 10, note="again")
    assert run.steps() == [10, 20]


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    with RunFolder(tmp_path).locked() as run:
        publish(run, 10)
        (run.checkpoints / ".aside-step-20" / "state").mkdir(parents=True)
        os.symlink("nowhere", run.path / ".aside-last")
    with RunFolder(tmp_path).locked() as run:
        assert [p.name for p in run.checkpoints.iterdir()] == ["step-10"]
        assert not os.path.lexists(run.path / ".aside-last")


def test_one_process_a_run(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from didact.training.checkpoint import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    path = {"PYTHONPATH": str(Path(checkpoint.__file__).parents[2])}
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **path},
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=rf"is being trained by process {other.pid} on .*one process per run"):
        RunFolder(tmp_path).locked().__enter__()
    other.kill()
    other.communicate()
    with RunFolder(tmp_path).locked() as run, run.locked():  # the dead hold nothing; nested is fine
        pass
    with RunFolder(tmp_path).locked():
        pass


def test_a_decision_is_made_once(run: RunFolder) -> None:
    assert run.decide("compiled", lambda: True) is True
    assert run.decide("other", lambda: 3) == 3
    assert RunFolder(run.path).decide("compiled", lambda: False) is True
