"""docs/files.md: the keys of every YAML file that is no run file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from didact.lab.glue import GlueRun
from didact.lab.grid import Arm, Equal, Grid, Paper
from didact.lab.quickstart.plan import Plan
from didact.runs.fewshot import TaskFile
from made import MADE
from made.keys import entries_of, keys_table

FILES: Sequence[tuple[str, str, type[Any], Sequence[tuple[str, type[Any]]]]] = (
    (
        "A grid",
        "`didact lab GRID.yaml`: arms compared at an equal budget ([lab.md](lab.md)).",
        Grid,
        (("arms.NAME", Arm), ("budget", Equal), ("papers.N", Paper)),
    ),
    ("GLUE", "`didact lab GLUE.yaml`: the nine tasks from one checkpoint ([lab.md](lab.md)).", GlueRun, ()),
    ("A quickstart", "`didact lab PLAN.yaml`: from installed packages to a report ([lab.md](lab.md)).", Plan, ()),
    ("A few-shot task", "`didact fewshot MODEL TASK.yaml` ([fewshot.md](fewshot.md)).", TaskFile, ()),
)


def files() -> str:
    """docs/files.md."""
    parts = [
        "# Other files, key by key",
        MADE,
        "YAML, as [run files](run_file.md) are: unknown keys are errors, as are keys that stand twice.",
    ]
    for title, said, cls, inside in FILES:
        parts += [f"## {title}", said]
        entries = entries_of(cls)
        for name, inner in inside:
            entries += entries_of(inner, f"{name}.")
        parts.append(keys_table(entries))
    return "\n\n".join(parts) + "\n"
