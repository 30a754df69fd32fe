"""`didact generate`: what a model writes after the lines of the user's files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TextIO

import yaml

from didact.errors import InputError
from didact.generation import Decoding, generate, stream
from didact.generation.generate import check_prompts, settled
from didact.generation.ways import PromptError
from didact.model import Pretrained
from didact.runs.place import AUTO, Place
from didact.runs.use import lines_of, output

Line = tuple[str, int, str]
"""file, row from 1, prompt"""
_AT_ONCE = 256  # prompts worked on before answers are written: they begin to come, and memory stays bounded


def generate_files(
    name: str,
    files: Sequence[Path],
    out: Path | None,
    given: Mapping[str, Any],
    more: str,
    streamed: bool,
    special: bool = False,
    at: Place = AUTO,
) -> None:
    """One prompt a line in; a JSON line each out, {"prompt", "answers": [{"text", "score"}]}, or, streamed, the text of
    each as it is written. given: fields of `Decoding`; more: YAML, others; special: see `generate`.

    What is wrong with a prompt is said with its file and row, and whether all have room before anything is written,
    where the files can be read twice.
    """
    decoding = decoding_of(given, more)
    if streamed and out is not None:
        raise InputError("--stream with --out", expected="one of them")
    model = at.open(name)
    if files and not any(path.is_fifo() or path.is_char_device() for path in files):
        for some in _some(files):
            _check(model, some, decoding, special)
    with output(out) as target:
        number = 0
        for some in _some(files, 1 if streamed else _AT_ONCE):
            if streamed:
                _stream(model, some, decoding, special, number, target)
            else:
                _write(model, some, decoding, special, number, target)
            number += len(some)


def _stream(
    model: Pretrained, some: Sequence[Line], decoding: Decoding, special: bool, number: int, target: TextIO
) -> None:
    """A line, piece by piece as it is written. number: its own, from 0."""
    with _placed(some):
        for piece in stream(model, some[0][2], decoding, special, number):
            target.write(piece)
            target.flush()
    target.write("\n")
    target.flush()


def _write(
    model: Pretrained, some: Sequence[Line], decoding: Decoding, special: bool, number: int, target: TextIO
) -> None:
    """A JSON line each; what is wrong with one costs none of those before it. number: of the first, from 0."""
    try:
        _check(model, some, decoding, special)
        wrong = None
    except _Misplaced as problem:
        some, wrong = some[: problem.number - 1], problem
    prompts = [prompt for _, _, prompt in some]
    with _placed(some):
        every = generate(model, prompts, decoding, special=special, number=number)
    for prompt, answers in zip(prompts, every, strict=True):
        found = [{"text": answer.text, "score": answer.score} for answer in answers]
        target.write(json.dumps({"prompt": prompt, "answers": found}, ensure_ascii=False) + "\n")
    target.flush()
    if wrong is not None:
        raise wrong


def decoding_of(given: Mapping[str, Any], more: str) -> Decoding:
    """The settings of the command line. Raises InputError for what is no field, said twice, or of another kind."""
    try:
        value = yaml.safe_load(more) if more else {}
    except yaml.YAMLError as problem:
        raise InputError(f"--decoding: not YAML: {str(problem).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise InputError(f"--decoding: found {more!r}", expected="'{top_p: 0.9, no_repeat: 3}'")
    for key in value:
        if key in given:
            raise InputError(f"--decoding with {key}", expected=f"--{key}")
    return checked({**value, **given}, "--decoding")


def checked(values: Mapping[str, Any], where: str) -> Decoding:
    """Raises InputError as `Decoding`, and for what is no field; where: the option or key they stand under."""
    try:
        return settled(None, {str(key): said for key, said in values.items()})
    except InputError as problem:
        raise InputError(f"{where}: {problem.found}", expected=problem.expected) from None


def _some(files: Sequence[Path], most: int = _AT_ONCE) -> Iterator[list[Line]]:
    """Lines of one file, some at a time."""
    for _, own in groupby(lines_of(files), key=lambda line: line[0]):
        while some := list(islice(own, most)):
            yield some


class _Misplaced(InputError):
    """What is wrong with one of some lines, said of its file and row. number: which, from 1."""

    number: int


def _check(model: Pretrained, some: Sequence[Line], decoding: Decoding, special: bool) -> None:
    """That the lines leave room to write. Raises _Misplaced."""
    with _placed(some):
        check_prompts(model, [prompt for _, _, prompt in some], decoding, special)


@contextlib.contextmanager
def _placed(some: Sequence[Line]) -> Iterator[None]:
    """What is wrong with a prompt is said of its file and row."""
    try:
        yield
    except PromptError as problem:
        file, row, _ = some[problem.number - 1]
        placed = _Misplaced(problem.wrong, file=file, row=row, expected=problem.expected)
        placed.number = problem.number
        raise placed from None
