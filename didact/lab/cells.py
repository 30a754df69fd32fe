"""Carry out a grid: its cells one after another or some at once, each a resumable run in a folder of its own.

    OUT/cells/ARM/SEED/pretrain        one pre-training run    (.yaml and .log beside each folder)
    OUT/cells/ARM/SEED/TASK            one fine-tuning run
    OUT/cells/ARM/rates/RATE           a learning rate tried with the first seed; the best one is that seed's run
                                       where trials are as long

A folder that holds result.json is finished and is not run again; one that was interrupted goes on by itself. A cell
that fails is reported, with those that needed it, and loses none of the others. A learning rate whose trial diverges is
not taken, which is no failure where another one's does not (RATE.diverged beside its folder says why).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from didact.errors import InputError
from didact.lab import grid as grids
from didact.lab.flops import Cost
from didact.lab.grid import Grid
from didact.lab.numbers import higher_is_better
from didact.runs import runfile
from didact.runs.common import FREE, check_inputs, finished, has_begun
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.training.record import read_metrics

PRETRAIN = "pretrain"
DIVERGED = 3  # the exit code of NotANumber
MAY_CHANGE = FREE | {"start"}  # between two starts of a cell
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
    def mark(self) -> Path:
        """What a trial that diverged leaves behind: its last words, and the run that they are of."""
        return self.folder.with_name(self.folder.name + ".diverged")

    @property
    def diverged(self) -> bool:
        """Whether this very run, on this hardware, diverged: then it is not begun again."""
        if not self.mark.is_file():
            return False
        try:
            told = json.loads(self.mark.read_text(encoding="utf-8"))["run"]
        except (ValueError, KeyError, TypeError):
            return False  # an older mark, which does not say of what run it is
        return told == self._as_it_runs()

    def leave_mark(self, reason: str) -> None:
        told = {"reason": reason, "run": self._as_it_runs()}
        self.mark.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    def _as_it_runs(self) -> dict[str, Any]:
        """What of the run decides whether it diverges: not where it lies, nor how often it is saved."""
        return self.run.model_dump(mode="json", by_alias=True, exclude=set(FREE - {"hardware", "plugins"}))

    @property
    def name(self) -> str:
        return f"{self.arm}, seed {self.seed}, {self.stage}" + ("" if self.rate is None else f" at {self.rate:g}")

    def validated(self) -> dict[str, float]:
        """Pre-training's validation figures, of the checkpoint that others start from: the best, else the last."""
        result = self.result() or {}
        best, figures = result.get("best_step"), result.get("validation") or {}
        if best is None or best == result.get("steps"):
            return figures
        for event in read_metrics(self.folder / "metrics.jsonl"):
            if event["kind"] == "validation" and event["step"] == best:
                return {name: math.nan if event.get(name) is None else float(event[name]) for name in figures}
        return figures

    def result(self) -> dict[str, Any] | None:
        """What the run left behind, its undefined figures not a number; None where it has not finished."""
        return finished(self.folder)


@dataclass(frozen=True)
class Failure:
    """A cell without a result, and why. code: its run's exit code (2 wrong input, 3 not a number, 1 a bug, < 0 killed);
    0: not run, because what it starts from failed, or ended well and left nothing.
    """

    name: str
    reason: str
    code: int = 0


@dataclass
class Carried:
    """What came of a grid: the cells that have results, those that failed, the learning rate chosen for each arm
    (where several were tried) and the steps of each arm (where the budget is FLOPs). discarded: the rates' trials that
    are no cell's run.
    """

    cells: list[Cell] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    tried: dict[str, dict[float, float]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    discarded: list[Cell] = field(default_factory=list)


Runner = Callable[[Sequence[Cell], Say], list[Failure]]
"""Makes the folder of every cell hold result.json; those where it could not. Says a line of each."""
Flops = Callable[[PretrainRun, float | None], Cost]
"""Measures a pre-training run: all of its steps, or as many as come to so many operations (`flops.flops_of`)."""


def carry_out(
    grid: Grid,
    out: Path,
    run: Runner,
    flops: Flops,
    say: Say,
    together: bool = False,
) -> Carried:
    """Every cell of the grid, seed by seed, so that whole seeds are there when it is stopped early; `together`: all
    pre-training first, of all seeds, which leaves more to be done at once.

    say: told one line per cell. Raises Interrupted; InputError where a folder holds another grid's cell.
    """
    carried = Carried(steps=equal_steps(grid, out, flops, say))
    _choose_rates(grid, out, carried, run, say)
    starts: dict[tuple[str, int], Path] = {}
    for seeds in [grid.seeds] if together else [(seed,) for seed in grid.seeds]:
        wanted = [(arm, seed) for seed in seeds for arm in grid.arms]
        first = [own for own in wanted if grids.pretrained(grid, own[0]) and own[1] in grid.pretraining_seeds]
        cells = [cell for own in first if (cell := _pretrain_cell(grid, out, *own, carried)) is not None]
        starts |= {(cell.arm, cell.seed): cell.folder for cell in _carry(cells, carried, run, say)}
        cells = [cell for own in wanted for cell in _finetune_cells(grid, out, *own, starts, carried)]
        _carry(cells, carried, run, say)
    return carried


def _finetune_cells(
    grid: Grid, out: Path, arm: str, seed: int, starts: Mapping[tuple[str, int], Path], carried: Carried
) -> list[Cell]:
    """The fine-tunings of one arm and seed that have something to start from; failures of the others. An arm that is
    not pre-trained takes its shape and its tokenizer from the first arm that is, from whatever seed of it is there.
    """
    root = grid.seeds[0] if grid.pretrain_once else seed
    own = grids.pretrained(grid, arm)
    source = arm if own else next((other for other in grid.arms if grids.pretrained(grid, other)), arm)
    start = starts.get((source, root))
    if start is None and not own:
        start = next((path for (other, _), path in starts.items() if other == source), None)
    if grid.pretrain is not None and start is None:
        reason = f"not run: no pre-trained weights of {source}, seed {root}"
        carried.failures += [Failure(f"{arm}, seed {seed}, {task}", reason) for task in grid.finetune]
        return []
    folder, begun = out / "cells" / arm / str(seed), None if start is None else str(start)
    made = {task: grids.finetune_run(grid, arm, task, seed, folder / task, begun) for task in grid.finetune}
    return [Cell(arm, seed, task, one) for task, one in made.items()]


def _pretrain_cell(grid: Grid, out: Path, arm: str, seed: int, carried: Carried) -> Cell | None:
    """The pre-training run of an arm and seed; None where no learning rate could be chosen for the arm."""
    rates, steps = grid.rates(arm), carried.steps.get(arm)
    if len(rates) <= 1:
        folder = out / "cells" / arm / str(seed) / PRETRAIN
        return Cell(arm, seed, PRETRAIN, grids.pretrain_run(grid, arm, seed, folder, next(iter(rates), None), steps))
    if arm not in carried.rates:
        return None
    rate = carried.rates[arm]
    tried = seed == grid.seeds[0] and grid.learning_rates.share == 1.0
    folder = _trial(out, arm, rate) if tried else out / "cells" / arm / str(seed) / PRETRAIN
    return Cell(arm, seed, PRETRAIN, grids.pretrain_run(grid, arm, seed, folder, rate, steps))


def _choose_rates(grid: Grid, out: Path, carried: Carried, run: Runner, say: Say) -> None:
    """For every arm, try each rate with the first seed and keep the one whose validation figure is best."""
    by, several = grid.learning_rates.by, [arm for arm in grid.arms if len(grid.rates(arm)) > 1]
    tuned = [arm for arm in several if grids.pretrained(grid, arm)]
    cells = [_trial_cell(grid, out, arm, rate, carried) for arm in tuned for rate in grid.rates(arm)]
    done = _tried(cells, carried, run, say)
    for cell in done:
        validation = cell.validated()
        if by not in validation:
            raise InputError(
                f"learning_rates.by: {by!r} is no validation figure of {cell.name}",
                expected=f"one of {', '.join(sorted(validation)) or 'none: it was not validated'}",
            )
        assert cell.rate is not None
        carried.tried.setdefault(cell.arm, {})[cell.rate] = float(validation[by])
    for cell in cells:
        if cell.diverged and cell.rate is not None:
            carried.tried.setdefault(cell.arm, {})[cell.rate] = math.nan
    for arm in dict.fromkeys(cell.arm for cell in cells if cell not in done and not cell.diverged):
        # Of the others one would be best, and in the next start perhaps another: nothing is trained at either.
        say(f"{arm}: no learning rate is chosen, since one has not been tried to its end")
        carried.tried.pop(arm, None)
    smallest = grid.learning_rates.smallest
    best = min if (not higher_is_better(by) if smallest is None else smallest) else max
    for arm, found in carried.tried.items():
        defined = {rate: value for rate, value in found.items() if not math.isnan(value)}
        if defined:
            carried.rates[arm] = best(defined, key=lambda rate: found[rate])
            say(f"{arm}: learning rate {carried.rates[arm]:g} (best {by} of {len(found)} tried)")
        else:
            carried.rates[arm] = next(iter(found))
            say(f"{arm}: learning rate {carried.rates[arm]:g}, the first: {by} is undefined at all {len(found)} tried")
    whole = grid.learning_rates.share == 1.0
    carried.discarded = [cell for cell in done if not (whole and cell.rate == carried.rates.get(cell.arm))]


def _tried(cells: Sequence[Cell], carried: Carried, run: Runner, say: Say) -> list[Cell]:
    """The trials that have a result. One that diverged beside another of its arm that did not is no failure."""
    failed = len(carried.failures)
    done = _carry([cell for cell in cells if not cell.diverged], carried, run, say, keep=False)
    named, ended = {cell.name: cell for cell in cells}, {cell.arm for cell in done}
    for failure in carried.failures[failed:]:
        cell = named[failure.name]
        if failure.code == DIVERGED and cell.arm in ended:
            carried.failures.remove(failure)
            cell.leave_mark(failure.reason)
            say(f"{cell.name}: diverged, not taken")
    return done


def _trial_cell(grid: Grid, out: Path, arm: str, rate: float, carried: Carried) -> Cell:
    seed, share = grid.seeds[0], grid.learning_rates.share
    made = grids.pretrain_run(grid, arm, seed, _trial(out, arm, rate), rate, carried.steps.get(arm), share=share)
    return Cell(arm, seed, PRETRAIN, made, rate)


def _trial(out: Path, arm: str, rate: float) -> Path:
    return out / "cells" / arm / "rates" / f"{rate:g}"


def equal_steps(grid: Grid, out: Path, flops: Flops, say: Say) -> dict[str, int]:
    """For each arm, the steps whose FLOPs come to those of the reference arm; nothing unless the budget is FLOPs."""
    if grid.budget is None or grid.budget.equal != "flops" or grid.budget.steps is None:
        return {}
    runs = {
        arm: grids.pretrain_run(grid, arm, grid.seeds[0], out / "cells" / arm / "measured")
        for arm in grid.arms
        if grids.pretrained(grid, arm)
    }
    first = flops(runs[grid.first], None)
    each = {arm: first if arm == grid.first else flops(run, first.flops) for arm, run in runs.items()}
    for arm, spent in each.items():
        say(f"{arm}: {spent.flops / spent.steps / 1e9:.4g} GFLOP a step, {spent.steps} steps")
    return {arm: spent.steps for arm, spent in each.items()}


def _carry(cells: Sequence[Cell], carried: Carried, run: Runner, say: Say, keep: bool = True) -> list[Cell]:
    """Run the cells that have no result; those that have one now. keep: list them among the grid's cells."""
    for cell in cells:
        _write(cell)
    failures = run([cell for cell in cells if cell.result() is None], say)
    carried.failures += failures
    lost = {failure.name for failure in failures}
    done = [cell for cell in cells if cell.name not in lost]
    if keep:
        carried.cells += done
    return done


def _write(cell: Cell) -> None:
    """Write a cell's run file, unless the cell is finished: its file says what came of what. An InputError where its
    folder belongs to a run with other settings that has begun, or a finished one to a run from other weights or on
    other data.
    """
    if cell.file.is_file() and has_begun(cell.folder):
        before, now = runfile.begun_with(cell.run, cell.file), runfile.resolved(cell.run)
        for key in sorted({*before, *now} - MAY_CHANGE):
            if before.get(key) != now.get(key):
                raise InputError(
                    f"{key}: this cell was run with {before.get(key)!r}, the grid now says {now.get(key)!r}",
                    file=cell.file,
                    expected="the same grid, or another --out",
                )
        if cell.result() is not None:
            was, would = _begun(before), _begun(now)
            if was != would:
                raise InputError(
                    f"start: this cell was started from {was}, it would now be from {would}",
                    file=cell.file,
                    expected="another --out, or that cell's folder removed",
                )
            check_inputs(cell.folder, cell.run.inputs)
            return
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    cell.file.write_text(runfile.dump(cell.run), encoding="utf-8")


def _begun(values: Mapping[str, Any]) -> str | None:
    """What a cell starts from; weights of the same grid by their place in OUT, which may have been moved; where only
    their shape is taken, the arm alone.
    """
    start, out = values.get("start"), Path(values["run"]).parents[3]
    if start is None or not Path(start).is_relative_to(out / "cells"):
        return start
    place = Path(start).relative_to(out)
    return (place.parents[1] if values.get("scratch") else place).as_posix()
