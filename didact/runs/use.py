"""`didact evaluate`, `predict`, `fill` and `embed`: a trained model on the user's files, results on standard output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import yaml

from didact.data.files import decoded, lines, make_folder
from didact.data.store import write_aside
from didact.data.tables import parse_json
from didact.errors import InputError
from didact.families import by_name
from didact.heads.embedding import POOLINGS
from didact.model import Pretrained
from didact.runs import common
from didact.runs.build import changed, columns_known, task_of
from didact.runs.corpus import say
from didact.runs.place import AUTO, Place
from didact.tasks import Dataset, Task
from didact.tasks.base import Counts

LEARNED = ("labels", "problem", "pooling", "tags", "form", "copy")  # fields that say what a model's heads answer
_AT_ONCE = 1024  # records predicted together: answers begin to come, and memory stays bounded


def evaluate_files(name: str, data: Sequence[Path], task: str | None, out: Path | None, at: Place = AUTO) -> None:
    """Score a model on labelled files. task: "answer", or "classify: {columns: {text: sentence}}", where the model has
    none, or its files have other columns.
    """
    from didact.evaluation.evaluate import evaluate

    if out is not None:
        make_room(out)
    model = at.open(name)
    asked = _task(model, task)
    found: dict[str, Any] = {}
    for path in data:
        dataset: Dataset = asked.read(path, model.tokenizer)
        scores = evaluate(model.model, asked, dataset, write=model.write(asked) if asked.written else None)
        for metric, interval in scores.intervals.items():
            say(f"{path} · {metric} {interval}")
        for signature in scores.signatures.values():
            say(f"{path} · {signature}")
        for what, count in scores.counts.items():
            say(f"{path} · {count:,} {what}")
        found[str(path)] = scores.to_json()
    text = json.dumps(common.spoken(found), indent=2, ensure_ascii=False)
    if out is None:
        print(text)
    else:
        write_aside(out, text + "\n")


def predict_files(name: str, files: Sequence[Path], out: Path | None, at: Place = AUTO) -> None:
    """JSON lines in, JSON lines out, one for one and in order. Files of another kind (TSV, CSV, Parquet, CoNLL, SQuAD's
    JSON) are read as the model's task reads them, whole, their labels unused.
    """
    model = at.open(name)
    if model.task is None:
        raise InputError(f"{name} was fine-tuned for no task", expected="a checkpoint of `didact finetune`")
    counts: Counts = Counter()
    with output(out) as target:
        for predictions in _predicted(model, files, counts):
            for prediction in predictions:
                target.write(json.dumps(prediction, ensure_ascii=False) + "\n")
            target.flush()
    for what, count in counts.items():
        say(f"{count:,} {what}")


def _predicted(model: Pretrained, files: Sequence[Path], counts: Counts) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The predictions, file by file, some records at a time. counts: where what is cut is counted."""
    for source in files or (None,):
        if source is not None and ".jsonl" not in source.suffixes:
            yield model.predict(source, counts=counts)
            continue
        for file, first, records in _records([] if source is None else [source]):
            if first > 1:  # what has no id is called by its number, in the file and not in this portion
                records = [
                    r if r.get("id") is not None else {**r, "id": str(i)} for i, r in enumerate(records, first - 1)
                ]
            try:
                yield model.predict(records, number=first - 1, counts=counts)
            except InputError as problem:
                row = None if problem.row is None else first + problem.row - 1
                raise InputError(problem.found, file=file, row=row, expected=problem.expected) from None


def fill_text(name: str, text: str, top: int, at: Place = AUTO) -> None:
    """Print the likeliest tokens of each blank."""
    decoded(text.encode(errors="surrogateescape"), "the text")
    for number, candidates in enumerate(at.open(name).fill(text, top), 1):
        for found in candidates:
            print(f"{number}\t{found.probability:.4f}\t{found.token}")


def embed_files(name: str, files: Sequence[Path], out: Path, pooling: str, at: Place = AUTO) -> None:
    """One vector a line of text, as a .npy file of float32."""
    if pooling not in ("", *POOLINGS):
        raise InputError(f"--pooling: found {pooling!r}", expected=f"one of {', '.join(POOLINGS)}")
    make_room(out)
    texts = [line for _, _, line in lines_of(files)]
    if not texts:
        raise InputError("no line to embed", file=files[0] if files else "standard input")
    vectors = at.open(name).embed(texts, cast(Any, pooling or None))
    aside = out.with_name(f".{out.name}.aside")
    with aside.open("wb") as file:
        np.save(file, vectors)
    aside.replace(out)
    say(f"{out}: {vectors.shape[0]:,} vectors of {vectors.shape[1]}")


def _task(model: Pretrained, spec: str | None) -> Task:
    """The model's own task, or the one that is named; what the model's task has learned is kept."""
    if spec is None:
        if model.task is None:
            raise InputError("the model was fine-tuned for no task", expected="--task")
        return model.task
    try:
        value = yaml.safe_load(spec)
    except yaml.YAMLError as problem:
        raise InputError(f"--task: not YAML: {str(problem).splitlines()[0]}") from None
    named: Mapping[str, Any] = {value: {}} if isinstance(value, str) else value
    if not isinstance(named, dict):
        raise InputError(f"--task: found {spec!r}", expected="a task's name, or '{translate: {scores: [bleu]}}'")
    if model.task is not None and set(named) == {model.task.kind}:
        changes = named[model.task.kind] or {}
        if learned := [name for name in LEARNED if name in changes and changes[name] != _plain(model.task, name)]:
            raise InputError(
                f"--task: {learned[0]} {changes[learned[0]]!r}, and this model has learned "
                f"{_plain(model.task, learned[0])!r}",
                expected="what is read and scored otherwise: columns, format, scores …",
            )
        return columns_known(changed(model.task, changes, f"task.{model.task.kind}"))
    task = task_of(named, model.maximum or 512)
    return task.suited(model.model.config, model.tokenizer, by_name(model.family).encoder)


def _plain(task: Task, name: str) -> Any:
    """A field as a run file has it."""
    value = getattr(task, name, None)
    return list(value) if isinstance(value, tuple) else value


def _records(files: Sequence[Path]) -> Iterator[tuple[str, int, list[Mapping[str, Any]]]]:
    """(file, row of the first, records), some records at a time, each of one file."""
    file, first, waiting = "", 1, cast(list[Mapping[str, Any]], [])
    for where, row, line in lines_of(files):
        if where != file or len(waiting) == _AT_ONCE:
            if waiting:
                yield file, first, waiting
            file, first, waiting = where, row, []
        if not line.strip():
            raise InputError("an empty line", file=where, row=row, expected="a JSON object")
        record = parse_json(line, where, row)
        if not isinstance(record, dict):
            raise InputError(f"found {type(record).__name__}", file=where, row=row, expected="a JSON object")
        waiting.append(record)
    if waiting:
        yield file, first, waiting


def lines_of(files: Sequence[Path]) -> Iterator[tuple[str, int, str]]:
    """(file, row from 1, line) of text files, or of standard input."""
    if not files:
        for row, raw in enumerate(sys.stdin.buffer, 1):
            yield "standard input", row, decoded(raw.rstrip(b"\n"), "standard input", row, first=row == 1)
    for path in files:
        for row, (_, line) in enumerate(lines(path), 1):
            yield str(path), row, line


def make_room(out: Path) -> None:
    """The folder that a file is to be written in. Raises InputError where there can be none."""
    make_folder(out.parent)
    if out.is_dir():
        raise InputError("a folder", file=out, expected="a file to be written")


@contextlib.contextmanager
def output(out: Path | None) -> Iterator[TextIO]:
    """Standard output; or a file that is there whole or not at all, also where an error ends the writing."""
    if out is None:
        yield sys.stdout
        return
    make_room(out)
    aside = out.with_name(f".{out.name}.aside")
    try:
        with aside.open("w", encoding="utf-8") as file:
            yield file
        aside.replace(out)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
