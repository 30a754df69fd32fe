"""`didact inspect`, `pretrain` and `finetune`: what a run file asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFile = Annotated[Path, typer.Argument(help="A run file (YAML).", metavar="RUN.yaml")]
Changes = Annotated[
    list[str] | None, typer.Argument(help="Changes: section.key=value.", metavar="[section.key=value …]")
]


def inspect(
    run_file: RunFile,
    changes: Changes = None,
    examples: Annotated[int, typer.Option(min=1, help="Sequences to show.")] = 3,
) -> None:
    """Show one real batch, decoded: what the model reads, who sees whom, what it is asked."""
    from didact.runs.inspect import inspect_run

    inspect_run(run_file, changes or (), examples)


def pretrain(run_file: RunFile, changes: Changes = None) -> None:
    """Pre-train any family with any objective. An interrupted run goes on by itself, exactly."""
    from didact.runs.pretrain import pretrain_file

    pretrain_file(run_file, changes or ())


def finetune(run_file: RunFile, changes: Changes = None) -> None:
    """Fine-tune on any task, from any checkpoint or from scratch, over any number of seeds."""
    from didact.runs.finetune import finetune_file

    finetune_file(run_file, changes or ())
