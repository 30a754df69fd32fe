"""`didact convert` and `push`: hand a model over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from didact.cli.use import Plugin


def convert(
    source: Annotated[str, typer.Argument(help="A run folder, a checkpoint, a Hugging Face folder or hub name.")],
    target: Annotated[
        Path,
        typer.Argument(
            help="Folder to write: of Hugging Face's form if SOURCE was written by didact, else of didact's."
        ),
    ],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Round the weights to this; absent: as they are.", show_default=False),
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Between Hugging Face's folders and didact's. Unless --dtype rounds them, tensors keep names, types and bytes."""
    import torch

    from didact.hub import convert as convert_model
    from didact.runs.runfile import load_plugins

    load_plugins(plugin or ())
    convert_model(source, target, None if dtype is None else getattr(torch, dtype))
    typer.echo(f"{source} -> {target}")


def push(
    model: Annotated[str, typer.Argument(help="A run folder or checkpoint.")],
    name: Annotated[str, typer.Argument(help="OWNER/NAME on the hub.")],
    private: Annotated[bool, typer.Option(help="Create the repository private.")] = False,
    license: Annotated[str | None, typer.Option(help="For the card: apache-2.0, cc-by-sa-4.0 …")] = None,
    language: Annotated[str | None, typer.Option(help="For the card: en, zh …")] = None,
    plugin: Plugin = None,
) -> None:
    """Upload a model and its card to the hub."""
    from didact.hub import push as push_model
    from didact.runs.runfile import load_plugins

    load_plugins(plugin or ())
    typer.echo(push_model(model, name, private=private, license=license, language=language))
