"""Loss: a step in G micro-batches is the step in one; on R ranks, the step on one. To a relative 1e-5 on the
loss and 2e-5 on every gradient (a table of bytes, summed in float32 in another order, was off by 1.1e-5), for every
objective, with uneven counts. A combined objective keeps its weights.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradients
import numpy as np
import pytest
import torch
from filelock import FileLock
from gradients import one_step
from safetensors.torch import load_file
from training_tools import MADE

from didact.objectives import Combined, Distilled, Mixed, Objective, Replaced, UniLM
from didact.training.record import read_metrics
from didact.training.state import read_progress

RANKS = 3
ONE, MANY = 4096, 44  # tokens of a micro-batch: all sequences, or one or two
objectives = pytest.mark.parametrize("objective", MADE, ids=lambda o: o.kind)


def assert_same(found: dict[str, Any], wanted: dict[str, Any], loss: float, wanted_loss: float) -> None:
    assert abs(loss - wanted_loss) <= 1e-5 * abs(wanted_loss)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        error = np.abs(found[name] - gradient).max()
        assert error <= 2e-5 * np.abs(gradient).max(), f"{name}: {error}"


@objectives
def test_micro_batches(objective: Objective, tmp_path: Path) -> None:
    assert len(gradients.stream_of(objective, ONE)[0]) == 1
    batches = gradients.stream_of(objective, MANY)[0]
    counts = [tuple(batch.counts.values()) for batch in batches]
    assert len(batches) >= 6
    assert len(set(counts)) > 1, "the counts must be uneven"
    whole = one_step(objective, ONE, tmp_path / "one")
    parts = one_step(objective, MANY, tmp_path / "many")
    assert_same(parts["gradients"], whole["gradients"], parts["loss"], whole["loss"])


def weights_of(objective: Objective) -> tuple[float, ...]:
    """Of the parts of its loss."""
    if isinstance(objective, Combined):
        return objective.weights or ()
    if isinstance(objective, Distilled):
        return (objective.soft, objective.cosine)
    if isinstance(objective, Replaced):
        return (1.0, objective.detection)
    if isinstance(objective, Mixed):
        names = [part.name for part in objective.parts]  # type: ignore[attr-defined]
        return tuple(names.count(name) / len(names) for name in objective.names)
    return (1 / 3, 1 / 6, 1 / 6, 1 / 3, 1 / 3) if isinstance(objective, UniLM) else (1.0,) * len(objective.names)


@objectives
def test_weights_hold_whatever_the_counts(objective: Objective, tmp_path: Path) -> None:
    line = one_step(objective, MANY, tmp_path)["line"][0]
    wanted = sum(w * line[f"loss/{name}"] for w, name in zip(weights_of(objective), objective.names, strict=True))
    assert line["loss"] == pytest.approx(wanted, rel=1e-12)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What rank 0 of three processes wrote, for DDP and FSDP2 and every objective; once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ranks"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            write_ranks(folder)
    return folder


def write_ranks(folder: Path) -> None:
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    common = {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": path}
    arguments = [sys.executable, gradients.__file__, str(folder), str(MANY)]
    started = [
        subprocess.Popen(
            arguments,
            env={**os.environ, **common, "OMP_NUM_THREADS": "1", "RANK": str(r), "LOCAL_RANK": str(r)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(RANKS)
    ]
    problems = [process.communicate(timeout=300)[1] for process in started]
    assert not any(process.returncode for process in started), "\n".join(problems)


@pytest.mark.slow
@objectives
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_ranks(objective: Objective, how: str, ranks: Path, tmp_path: Path) -> None:
    stream = gradients.stream_of(objective, MANY)
    dealt = [replace(stream, rank=rank, ranks=RANKS)[0] for rank in range(RANKS)]
    out = any(batch.tokens == 0 for own in dealt for batch in own)
    assert out or isinstance(objective, Mixed), "a rank that runs out must be among them"  # of many lengths, none does
    wanted = one_step(objective, MANY, tmp_path)
    with np.load(ranks / f"{how}-{MADE.index(objective)}.npz") as saved:
        found = {name: saved[name] for name in saved.files}
    loss = float(found.pop("loss"))
    unused = {name for name in found if name not in wanted["gradients"]}  # DDP gives what no rank used zeros, or none
    assert all(not found.pop(name).any() for name in unused)
    assert_same(found, wanted["gradients"], loss, wanted["loss"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_ranks_stop_together_and_go_on(how: str, ranks: Path, tmp_path: Path) -> None:
    """One rank was interrupted: all saved the same step, and went on to what they would have come to."""
    runs = [ranks / f"{how}-whole", ranks / f"{how}-cut"]
    losses = [[line["loss"] for line in read_metrics(run / "metrics.jsonl")] for run in runs]
    assert len(losses[0]) == 6
    assert losses[0] == losses[1]
    tensors = [load_file(run / "last" / "state" / "weights-00001.safetensors") for run in runs]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    exported = load_file(ranks / f"{how}-cut" / "last" / "model.safetensors")
    assert {f"models.main.{name}" for name in exported} == set(tensors[1])
    assert all(torch.equal(exported[name], tensors[1][f"models.main.{name}"]) for name in exported)
    flops = gradients.several_steps(tmp_path, "auto").flops
    assert [read_progress(run / "last" / "state").flops for run in runs] == [flops, flops]
    alone = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert losses[0] == pytest.approx(alone, rel=1e-4)
