"""Everything that is known of a carried-out grid, judged: what the report and its figures show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from didact.errors import InputError
from didact.lab import grid as grids
from didact.lab.cells import Carried
from didact.lab.grid import Grid
from didact.lab.results import Results, answers_of, collect
from didact.lab.sheets import Sheet, sheet_of
from didact.lab.verdict import Comparison, Floors, compare, floors_of
from didact.runs.schema import FinetuneRun

Scores = Mapping[str, float]
FORCED = ("nll", "token_accuracy")  # figures besides the task's own where answers are written (`tasks.answering`)
GIVEN = "given in the grid"


@dataclass(frozen=True)
class Findings:
    """floors: task -> name of a trivial method -> its scores on the test file."""

    grid: Grid
    carried: Carried
    results: Results
    comparisons: tuple[Comparison, ...]
    floors: Floors

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """(stage, split, metric) of everything compared, in order."""
        return list(dict.fromkeys((c.stage, c.split, c.metric) for c in self.comparisons))

    def of(self, key: tuple[str, str, str]) -> dict[str, Comparison]:
        """arm -> what is said of one metric."""
        return {c.arm: c for c in self.comparisons if (c.stage, c.split, c.metric) == key}

    def floors_of(self, key: tuple[str, str, str]) -> dict[str, float]:
        """Trivial methods' scores in one metric."""
        return floors_of(self.floors, key)


def check_floors(grid: Grid, file: Path | None = None) -> None:
    """Raise InputError where a floor is given in what is no score of its task."""
    for task, given in grid.floors.items():
        run = grids.finetune_run(grid, grid.first, task, grid.seeds[0], Path("run"), "start")
        learned = sheet_of(run).task
        known = [metric.name for metric in learned.metrics()] + list(FORCED if learned.written else ())
        for name in given:
            if name not in known:
                raise InputError(
                    f"floors.{task}.{name}: no score of this task", file=file, expected=f"one of {', '.join(known)}"
                )


def judge(grid: Grid, carried: Carried) -> Findings:
    """Read what the cells left behind, compare the arms, and compute what trivial methods reach."""
    results = collect(carried.cells, carried.discarded)
    sheets: dict[str, Sheet] = {}
    for task in grid.finetune:
        run = next((results.runs[arm, task] for arm in (grid.first, *grid.arms) if (arm, task) in results.runs), None)
        if run is not None:
            sheets[task] = sheet_of(run)
    for cell in carried.cells:
        answers = results.answers.get((cell.arm, cell.stage), {}).get(cell.seed)
        if answers is not None and isinstance(cell.run, FinetuneRun) and sheets[cell.stage].asks(cell.run):
            sheets[cell.stage].check(answers, answers_of(cell))
    floors: dict[str, dict[str, Scores]] = {task: dict(sheet.floors()) for task, sheet in sheets.items()}
    for task, given in grid.floors.items():
        floors.setdefault(task, {})[GIVEN] = given
    return Findings(grid, carried, results, tuple(compare(grid, results, sheets)), floors)
