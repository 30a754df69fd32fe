"""`didact lab` and `bench`: grids of runs with a verdict, and figures beside the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def lab(
    name: Annotated[
        str,
        typer.Argument(
            help='"quickstart", "quickstart-scratch", "quickstart-long", "incontext", or a file: a grid, GLUE, a plan.',
            metavar="NAME|FILE.yaml",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME if absent.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="A grid: measure short runs, print every cell's minutes.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="A grid: cells at once, which share the cores; a GPU each where there are some.")
    ] = 1,
) -> None:
    """Run a grid of runs, or all of GLUE, and say what came of it. Finished cells are skipped."""
    from didact import lab as room

    room.run(name, out, plan=plan, jobs=jobs)


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which benchmarks; all if none.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Of each measurement.")] = 5,
    out: Annotated[Path | None, typer.Option(help="A file of JSON lines to add the results to.")] = None,
    texts: Annotated[Path | None, typer.Option(help="Real texts, one a line, for the ones that need some.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Sizes that only show that it runs.")] = False,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="cuda: training steps of BERT-base's size, both sides.")
    ] = "cpu",
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        typer.Option(help="Of both sides; each that the device has units for if absent."),
    ] = None,
) -> None:
    """Side by side with the installed peers, in one run, on this machine."""
    from didact.lab import bench as benchmarks

    benchmarks.run(names or (), repeats, out, small, texts, device, precision)
