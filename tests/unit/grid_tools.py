"""A grid of one family's runs, and a runner that only pretends to carry it out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from didact.lab.cells import Carried, Cell, Failure, Say, carry_out
from didact.lab.grid import Grid
from didact.runs.runfile import checked
from didact.runs.schema import PretrainRun

BASE: dict[str, Any] = {"run": "unused", "data": {"train": "stores/x"}, "budget": {"steps": 10}}
TUNE: dict[str, Any] = {"run": "unused", "start": "unused", "task": {"classify": {}}, "data": {"train": "a.tsv"}}


def grid(**changes: Any) -> Grid:
    values: dict[str, Any] = {
        "grid": "trial",
        "pretrain": BASE,
        "finetune": {"topic": TUNE},
        "arms": {"low": {}, "high": {"pretrain": {"objective.masked.rate": 0.4}}, "scratch": {"pretrain": False}},
        "seeds": [0, 1],
    }
    return checked(Grid, values | changes)


class Pretend:
    """A runner that writes a plausible result.json, and fails where told."""

    def __init__(self, fails: tuple[str, ...] = (), code: int = 3) -> None:
        self.ran: list[str] = []
        self.fails, self.code = fails, code

    def __call__(self, cells: Sequence[Cell], _say: Say) -> list[Failure]:
        for cell in cells:
            self.ran.append(cell.name)
            if cell.name not in self.fails:
                self.one(cell)
        return [Failure(cell.name, "loss is not a number", self.code) for cell in cells if cell.name in self.fails]

    @staticmethod
    def one(cell: Cell) -> None:
        cell.folder.mkdir(parents=True)
        if isinstance(cell.run, PretrainRun):
            rate = cell.run.optimizer.learning_rate
            nll: float | None = None if rate > 1.0 else abs(rate - 1e-3) + 2.0
            validation = {"nll": nll, "mlm@15/accuracy": 0.5 - abs(rate - 1e-3)}
            result: dict[str, Any] = {"validation": validation, "steps": cell.run.budget.steps}
        else:
            result = {"seeds": {str(cell.seed): {"test": {"accuracy": 0.5}}}, "main": "accuracy"}
        (cell.folder / "result.json").write_text(json.dumps(result))


def carried(grid: Grid, out: Path, runner: Pretend, flops: Any = None, **how: Any) -> tuple[Carried, list[str]]:
    said: list[str] = []
    return carry_out(grid, out, runner, flops, said.append, **how), said
