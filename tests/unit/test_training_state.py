from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from training_tools import MADE, step_of, stream_of

from didact.errors import InputError
from didact.training.optim import AdamW
from didact.training.state import (
    Progress,
    load_state,
    moments,
    read_progress,
    read_tensors,
    save_state,
    weights,
    write_tensors,
)
from didact.training.step import Step


def trained_step(seed: int = 0) -> tuple[Step, torch.optim.Optimizer]:
    step = step_of(MADE[0], seed)
    optimizer = AdamW(0.01).build(step)
    for batch in stream_of(MADE[0])[0]:
        step(batch).scaled(batch.counts).backward()
    optimizer.step()
    optimizer.zero_grad()
    return step, optimizer


def test_there_and_back(tmp_path: Path) -> None:
    step, optimizer = trained_step()
    save_state(tmp_path, step, optimizer)
    other = step_of(MADE[0], seed=1)
    restored = AdamW(0.01).build(other)
    load_state(tmp_path, other, restored)
    for (name, a), (_, b) in zip(weights(step), weights(other), strict=True):
        assert torch.equal(a, b), name
    ours, theirs = dict(moments(step, optimizer)), dict(moments(other, restored))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "models.main.pooler.dense.weight.exp_avg" not in ours, "the pooler had no gradient"


def test_shards(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((10,), float(i)) for i in range(7)}
    write_tensors(tmp_path, "weights", iter(tensors.items()), shard=100)
    assert len(list(tmp_path.glob("weights-*.safetensors"))) == 4
    found = dict(read_tensors(tmp_path, "weights"))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_shared_parameters_once_and_buffers_too(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    module.append(module[0])
    names = [name for name, _ in weights(module)]
    assert names == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    write_tensors(tmp_path, "weights", weights(module))


@pytest.mark.parametrize("wrong", ["another width", "another objective", "fewer layers"])
def test_another_model_is_refused(wrong: str, tmp_path: Path) -> None:
    step, optimizer = trained_step()
    save_state(tmp_path, step, optimizer)
    other = {
        "another width": lambda: step_of(MADE[0], width=64),
        "another objective": lambda: step_of(MADE[1]),
        "fewer layers": lambda: step_of(MADE[0], layers=1),
    }[wrong]()
    with pytest.raises(InputError, match=r"weights hold .*expected the model this run began with"):
        load_state(tmp_path, other, AdamW().build(other))


def test_a_larger_model_is_refused(tmp_path: Path) -> None:
    step, optimizer = trained_step()
    save_state(tmp_path, step, optimizer)
    other = step_of(MADE[0], layers=3)
    with pytest.raises(InputError, match=r"no models.main.core.blocks.2"):
        load_state(tmp_path, other, AdamW().build(other))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    step, optimizer = trained_step()
    save_state(tmp_path, step, optimizer)
    file = tmp_path / "weights-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"weights-00001.safetensors: damaged"):
        load_state(tmp_path, step, optimizer)


def test_progress_there_and_back(tmp_path: Path) -> None:
    progress = Progress(
        7, 100, 1e15 / 3, 1 / 3, {"step": 7}, best=0.1 + 0.2, window=[{"parts": {"mlm": [1e-17, None, 1.0]}}]
    )
    (tmp_path / "state.json").write_text(json.dumps(progress.to_json()))
    assert read_progress(tmp_path) == progress


def test_a_state_of_before_operations_were_counted(tmp_path: Path) -> None:
    """Is read as one that does not know them; a state without something else is none."""
    values = Progress(7, 100, 5.0).to_json()
    (tmp_path / "state.json").write_text(json.dumps({k: v for k, v in values.items() if k != "flops"}))
    assert read_progress(tmp_path) == Progress(7, 100, None)
    (tmp_path / "state.json").write_text(json.dumps({k: v for k, v in values.items() if k != "tokens"}))
    with pytest.raises(InputError, match=r"state.json: training state of format"):
        read_progress(tmp_path)


@pytest.mark.parametrize("change", [{"format": 99}, {"surprise": 1}], ids=str)
def test_another_format_is_refused(change: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps(Progress().to_json() | change))
    with pytest.raises(InputError, match=r"state.json: training state of format"):
        read_progress(tmp_path)
