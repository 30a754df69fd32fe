"""Everything that is known of a carried-out grid, judged: what the report and its figures show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from didact.lab.cells import Carried
from didact.lab.grid import Grid
from didact.lab.results import Results, collect
from didact.lab.sheets import Sheet, sheet_of
from didact.lab.verdict import Comparison, compare

Scores = Mapping[str, float]
GIVEN = "given in the grid"


@dataclass(frozen=True)
class Findings:
    """floors: task -> name of a trivial method -> its scores on the test file."""

    grid: Grid
    carried: Carried
    results: Results
    comparisons: tuple[Comparison, ...]
    floors: Mapping[str, Mapping[str, Scores]]

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """(stage, split, metric) of everything compared, in order."""
        return list(dict.fromkeys((c.stage, c.split, c.metric) for c in self.comparisons))

    def of(self, key: tuple[str, str, str]) -> dict[str, Comparison]:
        """arm -> what is said of one metric."""
        return {c.arm: c for c in self.comparisons if (c.stage, c.split, c.metric) == key}

    def floors_of(self, key: tuple[str, str, str]) -> dict[str, float]:
        """Trivial methods' scores in one metric; they are of the test file."""
        stage, split, metric = key
        named = self.floors.get(stage, {}) if split == "test" else {}
        return {name: scores[metric] for name, scores in named.items() if metric in scores}


def judge(grid: Grid, carried: Carried) -> Findings:
    """Read what the cells left behind, compare the arms, and compute what trivial methods reach."""
    results = collect(carried.cells)
    sheets: dict[str, Sheet] = {}
    for task in grid.finetune:
        run = next((results.runs[arm, task] for arm in (grid.first, *grid.arms) if (arm, task) in results.runs), None)
        sheet = None if run is None else sheet_of(run)
        if sheet is not None:
            sheets[task] = sheet
    floors: dict[str, dict[str, Scores]] = {task: dict(sheet.floors()) for task, sheet in sheets.items()}
    for task, given in grid.floors.items():
        floors.setdefault(task, {})[GIVEN] = given
    return Findings(grid, carried, results, tuple(compare(grid, results, sheets)), floors)
