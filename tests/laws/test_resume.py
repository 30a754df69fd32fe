"""Resume: killed (SIGKILL) at 26 moments, while a checkpoint is written among them, and started again, a run is what
it would have been: the same losses, weights and moments to the bit. What bears a checkpoint's name is always whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import killed
import pytest
from training_tools import MADE

from didact.data.stream import BySequences
from didact.objectives import Objective
from didact.training.step import Step

COUNT = killed.MOMENTS * len(killed.KINDS)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of every run that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, killed.__file__, str(folder)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(COUNT))
def test_killed_and_resumed(moment: int, results: list[dict[str, Any]]) -> None:
    found = results[moment]
    assert all(found["killed"]), found
    assert found["finished"], found
    assert not found["problems"], found
    assert not found["different"], found


class Broken(Exception):
    """What ends a run that is to go on."""


@pytest.mark.parametrize("objective", MADE, ids=lambda o: o.kind)
def test_every_objective_goes_on_exactly(objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off in the middle of a step: what it draws, remembers and trains beside the main model is all kept."""
    plan = BySequences(6)
    killed.run(objective, plan, tmp_path / "whole", micro_tokens=256)
    forward, calls = Step.forward, 0

    def breaking(self: Step, *given: Any) -> Any:
        nonlocal calls
        calls += self.training
        if calls > 5:
            raise Broken
        return forward(self, *given)

    monkeypatch.setattr(Step, "forward", breaking)
    with pytest.raises(Broken):
        killed.run(objective, plan, tmp_path / "broken", micro_tokens=256)
    monkeypatch.setattr(Step, "forward", forward)
    killed.run(objective, plan, tmp_path / "broken", micro_tokens=256)
    assert killed.outcome(tmp_path / "broken") == killed.outcome(tmp_path / "whole")
