"""Experiments: grids of runs with a verdict, the quickstart, benchmarks beside the peers."""

from __future__ import annotations

from pathlib import Path


def run(name: str, out: Path | None = None, *, plan: bool = False, jobs: int = 1) -> Path | None:
    """Carry out a quickstart ("quickstart", "quickstart-scratch", "quickstart-long"), "incontext", or the file `name`,
    a grid, GLUE's, or a quickstart's plan, into `out` (what the file says, or runs/NAME, unless given); the report's
    path. With `plan` a grid is only measured: every cell with its minutes on standard output. jobs: cells of a grid
    that run at once.

    Finished cells are skipped, an interrupted one goes on. Raises InputError for a file that is none of these, and
    after the report is written the error of the first cell that failed.
    """
    from didact.errors import InputError
    from didact.lab.quickstart.plan import shipped
    from didact.runs import runfile

    named = shipped()
    values = {} if name in (*named, "incontext") else runfile.values_of(Path(name))
    if plan and "grid" not in values:
        raise InputError("--plan", expected="it with a grid")
    if jobs != 1 and (plan or "grid" not in values):
        raise InputError("--jobs", expected="it with a grid that is carried out")
    if name == "incontext":
        from didact.lab import incontext

        return incontext.run(out or Path("runs/incontext"))
    if "glue" in values:
        from didact.lab import glue

        return glue.run(Path(name), out)
    if name in named or "tasks" in values:
        from didact.lab import quickstart

        return quickstart.run(out or Path("runs") / Path(name).stem, plan=named.get(name, Path(name)))
    from didact.lab import experiment

    if plan:
        from didact.lab.plan import plan_of

        print(plan_of(experiment.grids.read(Path(name)), experiment.console()))
        return None
    return experiment.run(Path(name), out, jobs=jobs)
