"""Carry out a grid: its cells one after another, each a resumable run in a folder of its own.

    OUT/cells/ARM/SEED/pretrain        one pre-training run    (.yaml and .log beside each folder)
    OUT/cells/ARM/SEED/TASK            one fine-tuning run
    OUT/cells/ARM/rates/RATE           a learning rate tried with the first seed; the best one is that seed's run
                                       where trials are as long

A folder that holds result.json is finished and is not run again; one that was interrupted goes on by itself. A cell
that fails is reported, with those that needed it, and loses none of the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from didact.errors import InputError, Interrupted
from didact.lab import grid as grids
from didact.lab.grid import Grid
from didact.runs import runfile
from didact.runs.schema import FinetuneRun, PretrainRun

PRETRAIN = "pretrain"
MAY_CHANGE = {"run", "start", "hardware", "checkpoints", "record", "quiet", "plugins"}  # between two starts of a cell
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cell:
    """One run of a grid. stage: "pretrain" or a task's name; rate: a learning rate on trial, or None."""

    arm: str
    seed: int
    stage: str
    run: PretrainRun | FinetuneRun
    rate: float | None = None

    @property
    def folder(self) -> Path:
        return self.run.run

    @property
    def file(self) -> Path:
        return self.folder.with_name(self.folder.name + ".yaml")

    @property
    def log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def name(self) -> str:
        return f"{self.arm}, seed {self.seed}, {self.stage}" + ("" if self.rate is None else f" at {self.rate:g}")

    def result(self) -> dict[str, Any] | None:
        """What the run left behind, None where it has not finished."""
        path = self.folder / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


class CellFailed(RuntimeError):
    """A cell's run ended without a result. code: its exit code (2 wrong input, 3 not a number, 1 a bug, < 0 killed)."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(f"exit code {code}: {reason}")


Runner = Callable[[Cell], None]


@dataclass(frozen=True)
class Failure:
    """A cell without a result, and why. code as in CellFailed; 0: not run, because what it starts from failed."""

    name: str
    reason: str
    code: int = 0


@dataclass
class Carried:
    """What came of a grid: the cells that have results, those that failed, the learning rate chosen for each arm
    (where several were tried) and the steps of each arm (where the budget is FLOPs).
    """

    cells: list[Cell] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    tried: dict[str, dict[float, float]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)


def in_subprocess(cell: Cell) -> None:
    """Run a cell as `python -m didact VERB FILE`, its output in its log; a crash there is a CellFailed here.

    Ctrl-C reaches the run too: it saves, and Interrupted is raised once it has.
    """
    verb = "pretrain" if isinstance(cell.run, PretrainRun) else "finetune"
    with cell.log.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "didact", verb, str(cell.file)], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the signal as well and is saving
            raise Interrupted(f"stopped in {cell.name}; the same command goes on from there") from None
    if code == 130:
        raise Interrupted(f"stopped in {cell.name}; the same command goes on from there")
    if code != 0:
        raise CellFailed(code, f"{_last_line(cell.log)} ({cell.log})")


def carry_out(grid: Grid, out: Path, run: Runner, flops: Callable[[PretrainRun], float], say: Say) -> Carried:
    """Every cell of the grid, in an order that leaves whole seeds behind when it is stopped early.

    run: makes a cell's folder hold result.json, or raises; flops: of one optimizer step of a pre-training run,
    measured; say: told one line per cell. Raises Interrupted; InputError where a folder holds another grid's cell.
    """
    carried = Carried(steps=equal_steps(grid, out, flops, say))
    first = grid.seeds[0]
    if len(grid.learning_rates.pretrain) > 1:
        for arm in grid.arms:
            if grids.pretrained(grid, arm):
                _choose_rate(grid, out, arm, first, carried, run, say)
    starts: dict[str, Path | None] = {}
    for seed in grid.seeds:
        for arm in grid.arms:
            if grids.pretrained(grid, arm) and seed in grid.pretraining_seeds:
                cell = _pretrain_cell(grid, out, arm, seed, carried)
                starts[arm] = cell.folder if cell is not None and _carry(cell, carried, run, say) else None
        for arm in grid.arms:
            _finetune(grid, out, arm, seed, starts, carried, run, say)
    return carried


def _finetune(
    grid: Grid,
    out: Path,
    arm: str,
    seed: int,
    starts: Mapping[str, Path | None],
    carried: Carried,
    run: Runner,
    say: Say,
) -> None:
    """The fine-tunings of one arm and seed. An arm that is not pre-trained takes its shape and its tokenizer from the
    first arm that is."""
    source = arm if arm in starts else next((name for name, start in starts.items() if start is not None), arm)
    for task in grid.finetune:
        start = starts.get(source)
        if grid.pretrain is not None and start is None:
            reason = f"not run: no pre-trained weights of {source}, seed {seed}"
            carried.failures.append(Failure(f"{arm}, seed {seed}, {task}", reason))
            continue
        folder = out / "cells" / arm / str(seed) / task
        made = grids.finetune_run(grid, arm, task, seed, folder, None if start is None else str(start))
        _carry(Cell(arm, seed, task, made), carried, run, say)


def _pretrain_cell(grid: Grid, out: Path, arm: str, seed: int, carried: Carried) -> Cell | None:
    """The pre-training run of an arm and seed; None where no learning rate could be chosen for the arm."""
    rates, steps = grid.learning_rates.pretrain, carried.steps.get(arm)
    if len(rates) <= 1:
        folder = out / "cells" / arm / str(seed) / PRETRAIN
        return Cell(arm, seed, PRETRAIN, grids.pretrain_run(grid, arm, seed, folder, next(iter(rates), None), steps))
    if arm not in carried.rates:
        return None
    rate = carried.rates[arm]
    tried = seed == grid.seeds[0] and grid.learning_rates.share == 1.0
    folder = _trial(out, arm, rate) if tried else out / "cells" / arm / str(seed) / PRETRAIN
    return Cell(arm, seed, PRETRAIN, grids.pretrain_run(grid, arm, seed, folder, rate, steps))


def _choose_rate(grid: Grid, out: Path, arm: str, seed: int, carried: Carried, run: Runner, say: Say) -> None:
    """Try every rate with one seed and keep the one whose validation figure is best."""
    found: dict[float, float] = {}
    by = grid.learning_rates.by
    for rate in grid.learning_rates.pretrain:
        share = grid.learning_rates.share
        made = grids.pretrain_run(grid, arm, seed, _trial(out, arm, rate), rate, carried.steps.get(arm), share=share)
        cell = Cell(arm, seed, PRETRAIN, made, rate)
        if not _carry(cell, carried, run, say, keep=False):
            continue
        validation = (cell.result() or {}).get("validation", {})
        if by not in validation:
            raise InputError(
                f"learning_rates.by: {by!r} is no validation figure of {cell.name}",
                expected=f"one of {', '.join(sorted(validation)) or 'none: it was not validated'}",
            )
        found[rate] = float(validation[by])
    if found:
        best = min if grid.learning_rates.smallest else max
        carried.rates[arm] = best(found, key=lambda rate: found[rate])
        carried.tried[arm] = found
        say(f"{arm}: learning rate {carried.rates[arm]:g} (best {by} of {len(found)} tried)")


def _trial(out: Path, arm: str, rate: float) -> Path:
    return out / "cells" / arm / "rates" / f"{rate:g}"


def equal_steps(grid: Grid, out: Path, flops: Callable[[PretrainRun], float], say: Say) -> dict[str, int]:
    """For each arm, the steps whose FLOPs come to those of the reference arm; nothing unless the budget is FLOPs."""
    if grid.budget is None or grid.budget.equal != "flops" or grid.budget.steps is None:
        return {}
    each = {
        arm: flops(grids.pretrain_run(grid, arm, grid.seeds[0], out / "cells" / arm / "measured"))
        for arm in grid.arms
        if grids.pretrained(grid, arm)
    }
    whole = each[grid.first] * grid.budget.steps
    steps = {arm: max(1, round(whole / one)) for arm, one in each.items()}
    for arm, one in each.items():
        say(f"{arm}: {one / 1e9:.4g} GFLOP a step, {steps[arm]} steps")
    return steps


def _carry(cell: Cell, carried: Carried, run: Runner, say: Say, keep: bool = True) -> bool:
    """Run one cell unless it has a result. True where it has one now. keep: list it among the grid's cells."""
    _write(cell)
    if cell.result() is None:
        say(f"{cell.name} … ({cell.log})")
        began = time.monotonic()
        try:
            run(cell)
            if cell.result() is None:
                raise CellFailed(0, "ended without a result.json")
        except CellFailed as problem:
            carried.failures.append(Failure(cell.name, str(problem), problem.code))
            say(f"{cell.name}: failed, {problem}")
            return False
        say(f"{cell.name}: done in {time.monotonic() - began:.0f} s")
    if keep:
        carried.cells.append(cell)
    return True


def _write(cell: Cell) -> None:
    """Write a cell's run file; an InputError where its folder belongs to a run with other settings."""
    if cell.file.is_file():
        before = yaml.safe_load(cell.file.read_text(encoding="utf-8"))
        now = cell.run.model_dump(mode="json", by_alias=True)
        for key in sorted({*before, *now} - MAY_CHANGE):
            if before.get(key) != now.get(key):
                raise InputError(
                    f"{key}: this cell was run with {before.get(key)!r}, the grid now says {now.get(key)!r}",
                    file=cell.file,
                    expected="the same grid, or another --out",
                )
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    cell.file.write_text(runfile.dump(cell.run), encoding="utf-8")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else "no output"
