"""`didact generate`: what a model writes after the lines of the user's files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import yaml

from didact.errors import InputError
from didact.generation import Decoding, generate, stream
from didact.generation.generate import check_prompts, settled
from didact.generation.ways import PromptError
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
            with _placed(some):
                check_prompts(model, [prompt for _, _, prompt in some], decoding, special)
    with output(out) as target:
        for some in _some(files):
            if streamed:
                for line in some:
                    with _placed([line]):
                        for piece in stream(model, line[2], decoding, special):
                            target.write(piece)
                            target.flush()
                    target.write("\n")
                continue
            prompts = [prompt for _, _, prompt in some]
            with _placed(some):
                every = generate(model, prompts, decoding, special=special)
            for prompt, answers in zip(prompts, every, strict=True):
                found = [{"text": answer.text, "score": answer.score} for answer in answers]
                target.write(json.dumps({"prompt": prompt, "answers": found}, ensure_ascii=False) + "\n")
            target.flush()


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


def _some(files: Sequence[Path]) -> Iterator[list[Line]]:
    """Lines of one file, some at a time."""
    for _, own in groupby(lines_of(files), key=lambda line: line[0]):
        while some := list(islice(own, _AT_ONCE)):
            yield some


@contextlib.contextmanager
def _placed(some: Sequence[Line]) -> Iterator[None]:
    """What is wrong with a prompt is said of its file and row."""
    try:
        yield
    except PromptError as problem:
        file, row, _ = some[problem.number - 1]
        raise problem.at(file, row) from None
