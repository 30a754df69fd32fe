"""A run that is told to stop: what it keeps, and what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from training_tools import MADE, quick, step_of, stream_of

import didact
from didact.errors import Interrupted
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.record import read_metrics
from didact.training.state import read_progress
from didact.training.step import Step

PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training_tools import MADE, quick, step_of, stream_of
from didact.errors import Interrupted
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
import torch
torch.set_num_threads(1)
def evaluate(step):
    print("validating", flush=True)
    if sys.argv[3] == "validation":
        time.sleep(60)
    return {"score": 1.0}
def slow(*_):
    time.sleep(0.02)
step = step_of(MADE[0])
step.register_forward_hook(slow)
settings = quick(10_000, evaluate_every=5, again="didact pretrain run.yaml")
try:
    fit(step, stream_of(MADE[0]), settings, RunFolder(Path(sys.argv[2])), evaluate)
except Interrupted as problem:
    print(problem, flush=True)
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("where", "number"), [("training", signal.SIGINT), ("validation", signal.SIGTERM)])
def test_ctrl_c_saves_and_says_how_to_go_on(where: str, number: int, tmp_path: Path) -> None:
    tests, root = Path(__file__).resolve().parents[1], Path(didact.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tests), str(tmp_path), where],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "validating\n"
    time.sleep(0.1)
    process.send_signal(number)
    said = process.communicate(timeout=50)[0].splitlines()[-1]
    assert process.returncode == 130
    (step,) = RunFolder(tmp_path).steps()
    assert said == f"stopped after step {step}, saved in {tmp_path}; go on with: didact pretrain run.yaml"
    progress = read_progress(tmp_path / "last" / "state")
    assert step == 5 if where == "validation" else step >= 5
    assert progress.evaluated == (-1 if where == "validation" else step // 5 * 5)


def test_a_validation_that_was_broken_off_is_made_up_for(tmp_path: Path) -> None:
    settings, folder = quick(6, evaluate_every=3), RunFolder(tmp_path)
    scores = iter((1.0, 2.0))

    def interrupted(_step: Step) -> Mapping[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"score": 0.0}

    with pytest.raises(Interrupted, match=r"stopped after step 3, saved in .*; the same command goes on"):
        fit(step_of(MADE[0]), stream_of(MADE[0]), settings, folder, interrupted)
    fit(step_of(MADE[0]), stream_of(MADE[0]), settings, folder, lambda _step: {"score": next(scores)})
    said = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "validation"]
    assert [(line["step"], line["score"]) for line in said] == [(3, 1.0), (6, 2.0)]
