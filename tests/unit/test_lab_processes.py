"""Cells as processes: real runs side by side, what is said of them, and what each has of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from run_tools import pretraining

from didact.lab.cells import PRETRAIN, Cell
from didact.lab.processes import places, side_by_side
from didact.runs.runfile import checked, dump
from didact.runs.schema import PretrainRun


def cell(folder: Path, name: str, **values: Any) -> Cell:
    made = Cell(name, 0, PRETRAIN, checked(PretrainRun, values | {"run": str(folder / name)}))
    made.file.write_text(dump(made.run), encoding="utf-8")
    return made


@pytest.mark.parametrize("at_once", [1, 2])
def test_some_fail_and_the_others_do_not(at_once: int, world: Path, tmp_path: Path) -> None:
    """A failure is told by its exit code and the last line of its log."""
    good = pretraining(world, tmp_path / "unused", budget={"steps": 2})
    cells = [
        cell(tmp_path, "first", **good),
        cell(tmp_path, "absent", **(good | {"data": {"train": str(tmp_path / "nowhere")}})),
        cell(tmp_path, "last", **good),
    ]
    said: list[str] = []
    (failure,) = side_by_side(at_once)(cells, said.append)
    assert (failure.name, failure.code) == ("absent, seed 0, pretrain", 2)
    assert failure.reason.startswith("exit code 2: didact: ")
    assert "no store here" in failure.reason
    assert str(cells[1].log) in failure.reason
    assert [one.result() is not None for one in cells] == [True, False, True]
    assert sorted(line.split()[0] for line in said if "done in" in line) == ["first,", "last,"]
    assert sum("failed, exit code 2" in line for line in said) == 1
    losses = [(one.folder / "metrics.jsonl").read_text().splitlines()[-1] for one in (cells[0], cells[2])]
    assert len({json.loads(line).get("loss") for line in losses}) == 1, "they are the same run"


def test_a_run_without_a_result_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from didact.lab import processes
    from didact.lab.commands import Command

    def nothing(name: str, *_arguments: object, log: Path, made: Path, threads: int | None) -> Command:
        return Command(name, ("-c", f"print({str(threads)!r})"), log, made)

    monkeypatch.setattr(processes, "didact", nothing)
    monkeypatch.setattr(processes, "cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    one = cell(tmp_path, "a", data={"train": "x"}, budget={"steps": 1})
    (failure,) = side_by_side(3)([one], lambda _: None)
    assert failure.reason == "exit code 0: ended without a result.json"
    assert one.log.read_text() == "2\n", "six cores, three cells"


@pytest.mark.parametrize(
    ("count", "said", "at_once", "wanted"),
    [
        (0, None, 2, [None]),
        (4, None, 1, [None]),
        (2, None, 3, ["0", "1"]),
        (2, "3,5", 2, ["3", "5"]),
    ],
)
def test_each_has_a_gpu(
    count: int, said: str | None, at_once: int, wanted: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if said is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in places(at_once)] == wanted
