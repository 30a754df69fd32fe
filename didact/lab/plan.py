"""How long a grid will take here, cell by cell: each arm's runs carried out twice with a few steps, in a folder that is
thrown away, and the two processor times laid a straight line through. Nothing of it is kept.

Minutes are of one core (this process's time on the processor, so that other processes hardly count), without the start
of each cell's own process, which is measured once and added. A budget in minutes of the clock is taken for as many of
one core. Fine-tunings that differ in nothing but the weights they start from are measured once.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didact.exchange import keys
from didact.lab import grid as grids
from didact.lab.cells import PRETRAIN, Say, equal_steps
from didact.lab.flops import flops_of
from didact.lab.grid import Grid
from didact.runs import runfile
from didact.runs.begin import Begin
from didact.runs.finetune import Files, finetune
from didact.runs.finetune import budget_of as finetuning_budget
from didact.runs.pretrain import assemble, budget_of, pretrain
from didact.runs.runfile import load_plugins
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.training.schedule import Budget

FEW, MORE = 6, 24  # steps of the two short runs


@dataclass(frozen=True)
class Line:
    """Seconds of a run: each step, and all else (reading, validation, scoring, a checkpoint); amount: of it in a step
    (tokens), of what the run counts.
    """

    step: float
    rest: float
    tokens: float = 0.0


@dataclass(frozen=True)
class Row:
    """Cells of one kind. stage: "pretrain", "rate on trial" or a task's name; steps: of one; count: how many; minutes:
    of one core, of one.
    """

    arm: str
    stage: str
    steps: int
    count: int
    minutes: float
    tokens: float = 0.0


def plan_of(grid: Grid, say: Say) -> str:
    """A table of the grid's cells, Markdown; the last line is their sum."""
    start = _process_start()
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        steps = equal_steps(grid, room, flops_of, say)
        starts: dict[str, Path] = {}
        for arm in grid.arms:
            if grids.pretrained(grid, arm):
                say(f"{arm}: {PRETRAIN} …")
                rows, starts[arm] = _pretraining(grid, arm, room / arm, steps.get(arm), start)
                found += rows
        known: dict[str, tuple[int, Line]] = {}
        for arm in grid.arms:
            source = starts.get(arm, next(iter(starts.values()), None))
            for task in grid.finetune:
                run = grids.finetune_run(grid, arm, task, grid.seeds[0], room / arm / task, source and str(source))
                load_plugins(run.plugins)
                one = run.model_copy(update={"learning_rates": ()})
                likeness = _likeness(one)
                if likeness not in known:
                    say(f"{arm}: {task} …")
                    known[likeness] = _finetuning(one, task, room / arm / task)
                whole, line = known[likeness]
                runs = max(1, len(run.learning_rates))
                minutes = (start + runs * (line.step * whole + line.rest)) / 60
                found.append(Row(arm, task, whole, len(grid.seeds), minutes))
    return table(found)


def table(rows: list[Row]) -> str:
    """Markdown: cells, minutes of each, and of all."""
    lines = ["| arm | stage | steps | M tokens | cells | minutes each | minutes |", "| --- " * 7 + "|"]
    for row in rows:
        tokens = f"{row.tokens / 1e6:.2f}" if row.tokens else ""
        all_of = row.count * row.minutes
        lines.append(
            f"| {row.arm} | {row.stage} | {row.steps:,} | {tokens} | {row.count} | {row.minutes:.2f} | {all_of:.1f} |"
        )
    total = sum(row.count * row.minutes for row in rows)
    lines.append(f"| all | | | | {sum(row.count for row in rows)} | | {total:.0f} ({total / 60:.2f} h) |")
    return "\n".join(lines)


def _pretraining(grid: Grid, arm: str, room: Path, steps: int | None, start: float) -> tuple[list[Row], Path]:
    rates, share = grid.rates(arm), grid.learning_rates.share
    run = grids.pretrain_run(grid, arm, grid.seeds[0], room / "run", next(iter(rates), None), steps)
    load_plugins(run.plugins)
    # how many sequences there are, which epochs must know, only the whole run can say
    budget = budget_of(run, 0) if run.budget.epochs is None else assemble(run).budget
    line, made = _line(lambda few: _shortened(run, room / f"{PRETRAIN}-{few}", few), pretrain)
    whole = steps_of(budget, line, line.step + line.rest / run.validation.every)
    trials = len(rates) if len(rates) > 1 else 0
    seeds = len(grid.pretraining_seeds) - (1 if trials and share == 1.0 else 0)

    def row(stage: str, steps: int, count: int) -> Row:
        looks = 1 + steps // run.validation.every
        return Row(arm, stage, steps, count, (start + line.step * steps + line.rest * looks) / 60, line.tokens * steps)

    rows = [row("rate on trial", round(share * whole), trials)] if trials else []
    return [*rows, row(PRETRAIN, whole, seeds)], made


def _finetuning(run: FinetuneRun, task: str, room: Path) -> tuple[int, Line]:
    """How many steps it has, and what they take."""
    # only epochs need to know how many sequences there are
    budget = finetuning_budget(run, 0 if run.budget.epochs is None else len(Files.read(run, Begin.of(run)).train))
    line, _ = _line(lambda few: _shortened(run, room / f"{task}-{few}", few), finetune)
    return steps_of(budget, line, line.step), line


def _likeness(run: FinetuneRun) -> str:
    """What the time of a fine-tuning depends on: all but its folder and the weights it starts from."""
    begin = Begin.of(run)
    said = run.model_dump(mode="json", by_alias=True, exclude={"run", "start", "scratch", "seed"})
    model = [begin.family.name, keys.config_to_json(begin.config), begin.tokenizer.fingerprint]
    return json.dumps([said, model], sort_keys=True)


def steps_of(budget: Budget, line: Line, seconds: float) -> int:
    """The steps that a budget allows. seconds: what a step takes, with its share of what is done between steps."""
    if budget.steps is not None:
        return budget.steps
    if budget.tokens is not None:
        return max(1, round(budget.tokens / line.tokens))
    assert budget.minutes is not None
    return max(1, round(60 * budget.minutes / seconds))


def _line(shortened: Callable[[int], Any], carry_out: Callable[[Any], Path]) -> tuple[Line, Path]:
    """Seconds a step and seconds besides, from a short and a longer run; and the longer one's folder."""
    taken, folder = [], Path()
    for few in (FEW, MORE):
        began = time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            folder = carry_out(shortened(few))
        taken.append(time.process_time() - began)
    result = json.loads((folder / "result.json").read_text())
    step = max(1e-6, (taken[1] - taken[0]) / (MORE - FEW))  # no step takes nothing, whatever the clock says
    (of_run,) = [result] if "tokens" in result else result["seeds"].values()
    return Line(step, max(0.0, taken[0] - FEW * step), of_run["tokens"] / MORE), folder


def _shortened(run: PretrainRun | FinetuneRun, folder: Path, steps: int) -> PretrainRun | FinetuneRun:
    """The same run in another folder, of a few steps."""
    values = run.model_dump(mode="json", by_alias=True)
    values |= {"run": str(folder), "budget": {"steps": steps}, "quiet": True, "record": []}
    return runfile.checked(type(run), values)


def _process_start() -> float:
    """Processor seconds of a process that imports what every cell does."""
    script = "import time, didact.runs.pretrain, didact.runs.finetune; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout)
