"""`didact evaluate`, `predict`, `fill`, `embed`, `generate` and `fewshot`: a trained model at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from didact.runs.place import Place

ModelName = Annotated[
    str,
    typer.Argument(
        help="A run folder, a checkpoint, small-en (comes with didact), a Hugging Face folder or hub name.",
        metavar="MODEL",
    ),
]
Files = Annotated[list[Path] | None, typer.Argument(help="Input files; standard input if none.", metavar="[FILES…]")]
Plugin = Annotated[
    list[str] | None, typer.Option(help="A Python module of yours, in which the model's task or family is.")
]
Out = Annotated[Path | None, typer.Option(help="Where to write; standard output if absent.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps; auto: CUDA where it is there, else the processor.")]
Dtype = Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="What is computed in.")]


def evaluate(
    model: ModelName,
    data: Annotated[list[Path], typer.Option(help="Labelled files.")],
    task: Annotated[
        str | None,
        typer.Option(help="YAML: answer, or 'classify: {columns: {text: sentence}}'; if absent, the model's."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the scores there, as JSON.")] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    plugin: Plugin = None,
) -> None:
    """The task's official metric on labelled files, with 95 % intervals."""
    from didact.runs.runfile import load_plugins
    from didact.runs.use import evaluate_files

    load_plugins(plugin or ())
    evaluate_files(model, data, task, out, _at(device, dtype))


def predict(
    model: ModelName,
    files: Files = None,
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    plugin: Plugin = None,
) -> None:
    """Records in (JSON lines; of files also TSV, CSV, CoNLL …, as in training), JSON lines out, in the same order."""
    from didact.runs.runfile import load_plugins
    from didact.runs.use import predict_files

    load_plugins(plugin or ())
    predict_files(model, files or (), out, _at(device, dtype))


def fill(
    model: ModelName,
    text: Annotated[str, typer.Argument(help="A text with the model's mask token, [MASK] for BERT.")],
    top: Annotated[int, typer.Option(min=1, help="Candidates for each blank.")] = 5,
    device: Device = "auto",
    dtype: Dtype = "float32",
    plugin: Plugin = None,
) -> None:
    """The likeliest tokens for each blank."""
    from didact.runs.runfile import load_plugins
    from didact.runs.use import fill_text

    load_plugins(plugin or ())
    fill_text(model, text, top, _at(device, dtype))


def embed(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Where to write: .npy, rows in the order of the lines.")],
    files: Files = None,
    pooling: Annotated[str, typer.Option(help="mean, cls, last or max; the model's own if it names one.")] = "",
    device: Device = "auto",
    dtype: Dtype = "float32",
    plugin: Plugin = None,
) -> None:
    """One vector a line of text."""
    from didact.runs.runfile import load_plugins
    from didact.runs.use import embed_files

    load_plugins(plugin or ())
    embed_files(model, files or (), out, pooling, _at(device, dtype))


def generate(
    model: ModelName,
    files: Files = None,
    out: Out = None,
    beams: Annotated[int, typer.Option(min=1, help="Hypotheses that are kept; 1: the likeliest token is taken.")] = 1,
    answers: Annotated[int, typer.Option(min=1, help="How many answers to each prompt.")] = 1,
    maximum: Annotated[int, typer.Option(min=1, help="New tokens at most.")] = 64,
    sample: Annotated[bool, typer.Option(help="Draw the tokens.")] = False,
    seed: Annotated[int, typer.Option(help="What is drawn depends on it.")] = 0,
    decoding: Annotated[
        str, typer.Option(help="YAML, everything else: '{top_p: 0.9, no_repeat: 3, stop: [\"\\n\"]}'.")
    ] = "",
    special: Annotated[
        bool, typer.Option(help="Read names of special tokens (<mask>, <extra_id_0>) as these; show sentinels.")
    ] = False,
    stream: Annotated[bool, typer.Option(help="Show the text as it is written, in place of JSON lines.")] = False,
    device: Device = "auto",
    dtype: Dtype = "float32",
    plugin: Plugin = None,
) -> None:
    """What the model writes after each line of text; JSON lines out."""
    from didact.runs.runfile import load_plugins
    from didact.runs.write import generate_files

    load_plugins(plugin or ())
    given = {"beams": beams, "answers": answers, "maximum": maximum, "sample": sample, "seed": seed}
    generate_files(model, files or (), out, given, decoding, stream, special, _at(device, dtype))


def fewshot(
    model: ModelName,
    task_file: Annotated[Path, typer.Argument(help="A task file (YAML).", metavar="TASKFILE")],
    shots: Annotated[str, typer.Option(help="Numbers of examples before a question.")] = "0,1,5",
    seeds: Annotated[str, typer.Option(help="Each draws its own examples.")] = "0,1,2",
    data: Annotated[Path | None, typer.Option(help="The questions; if absent, the task file's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for predictions.jsonl, result.json, accuracy.png.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    plugin: Plugin = None,
) -> None:
    """A task by examples in the input alone: accuracy by number of shots. Nothing is trained."""
    from didact.runs.fewshot import fewshot_file
    from didact.runs.runfile import load_plugins

    load_plugins(plugin or ())
    numbers = _numbers("shots", shots), _numbers("seeds", seeds)
    fewshot_file(model, task_file, *numbers, data, out, limit, _at(device, dtype))


def _at(device: str, dtype: str) -> Place:
    from didact.runs.place import Place

    return Place(device, dtype)


def _numbers(option: str, text: str) -> list[int]:
    """ "0,1,5" -> [0, 1, 5], each once."""
    from didact.errors import InputError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--{option}: found {text!r}", expected="numbers with commas between them, 0,1,5")
    return list(dict.fromkeys(map(int, parts)))
