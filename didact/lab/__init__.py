"""Experiments: grids of runs with a verdict, the quickstart, benchmarks beside the peers."""

from __future__ import annotations

from pathlib import Path


def run(name: str, out: Path | None = None, *, long: bool = False, plan: bool = False) -> Path | None:
    """Carry out "quickstart", "incontext", or the grid or GLUE file `name`, into `out` (what the file says, or
    runs/NAME, unless given); the report's path. With `plan` a grid is only measured: every cell with its minutes on
    standard output.

    Finished cells are skipped, an interrupted one goes on. Raises InputError for a file that is no grid, and after the
    report is written the error of the first cell that failed.
    """
    from didact.errors import InputError

    if plan and (long or name == "quickstart"):
        raise InputError("--plan", expected="it with a grid")
    if name == "quickstart":
        from didact.lab import quickstart

        return quickstart.run(out or Path("runs/quickstart-long" if long else "runs/quickstart"), long=long)
    from didact.lab import experiment
    from didact.runs import runfile

    if long:
        raise InputError("--long", expected="it with quickstart; a grid's length is its budget")
    if name == "incontext":
        from didact.lab import incontext

        return incontext.run(out or Path("runs/incontext"))
    if plan and "glue" in runfile.values_of(Path(name)):
        raise InputError("--plan", expected="it with a grid")
    if "glue" in runfile.values_of(Path(name)):
        from didact.lab import glue

        return glue.run(Path(name), out)
    if plan:
        from didact.lab.plan import plan_of

        print(plan_of(experiment.grids.read(Path(name)), experiment.console()))
        return None
    return experiment.run(Path(name), out)
