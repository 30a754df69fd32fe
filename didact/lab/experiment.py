"""A grid from its file to its report: `didact lab GRID.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from didact.data.store import write_aside
from didact.errors import InputError, NotANumber
from didact.lab import grid as grids
from didact.lab import report
from didact.lab.cells import Carried, Failure, Runner, Say, carry_out
from didact.lab.findings import check_floors, judge
from didact.lab.flops import flops_of
from didact.lab.processes import side_by_side
from didact.lab.verdict import short_of, verdicts
from didact.runs import runfile


def run(
    file: Path, out: Path | None = None, runner: Runner | None = None, say: Say | None = None, jobs: int = 1
) -> Path:
    """Every cell of the grid in `file`, then OUT/report.html; its path. out: runs/GRID unless given.

    jobs: cells at once; runner: what runs them, processes unless given; say: told a line at a time what happens, the
    console unless given. Where cells failed, the report of the others is written all the same and then the first
    failure is raised: InputError, NotANumber or RuntimeError.
    """
    grid = grids.read(file)
    check_floors(grid, file)
    out = out or Path("runs") / grid.grid
    tell: Say = say or console()
    if small := short_of(grid):
        tell("below the smallest comparison worth quoting: " + "; ".join(small))
    out.mkdir(parents=True, exist_ok=True)
    with _said(grid, out / "grid.yaml"):
        carried = carry_out(grid, out, runner or side_by_side(jobs), flops_of, tell, together=jobs > 1)
    return finish(grid, carried, out, tell)


@contextmanager
def _said(grid: grids.Grid, file: Path) -> Iterator[None]:
    """The grid is in `file`; what stood there before comes back where the cells there are another grid's."""
    before = file.read_text(encoding="utf-8") if file.is_file() else None
    write_aside(file, runfile.dump(grid))
    try:
        yield
    except InputError:
        if before is not None:
            write_aside(file, before)
        raise


def console() -> Say:
    """What tells a line to the person who waits."""
    stderr = Console(stderr=True, highlight=False)
    return lambda line: stderr.print(line, markup=False, soft_wrap=True)


def finish(grid: grids.Grid, carried: Carried, out: Path, say: Say) -> Path:
    """The report of what there is, then the failures, if any."""
    findings = judge(grid, carried)
    page = report.write(findings, out)
    for sentence in verdicts(grid, findings.comparisons, findings.floors):
        say(sentence)
    say(f"{page}")
    if carried.failures:
        raise _error(carried.failures, page)
    return page


def _error(failures: list[Failure], page: Path) -> Exception:
    """The first failure, as the exception whose exit code the cell had."""
    first = next((f for f in failures if f.code), failures[0])
    text = f"{len(failures)} cells have no result, the first: {first.name}: {first.reason}; the others are in {page}"
    return {2: InputError, 3: NotANumber}.get(first.code, RuntimeError)(text)
