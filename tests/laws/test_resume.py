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
