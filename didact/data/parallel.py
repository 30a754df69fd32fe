"""Parallel files: one text a line, line i of each file a record. Named by one path with the sides in braces.

    train.{en,de}.gz        train.en.gz and train.de.gz, the first side first
    {src,tgt}-dev.txt       src-dev.txt and tgt-dev.txt

Braces that hold no comma, and a file that is really called so, are names like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from didact.data.files import lines
from didact.errors import InputError

_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def sides(path: str | Path) -> tuple[Path, ...]:
    """The files that a path with braces names, in order; () where it is one file's name. Raises InputError where
    there is more than one pair of braces.
    """
    name = str(path)
    found = _BRACES.findall(name)
    if not found or Path(name).expanduser().is_file():
        return ()
    if len(found) > 1:
        raise InputError(f"{len(found)} pairs of braces", file=name, expected="one pair: train.{en,de}")
    before, after = _BRACES.split(name)[::2]
    return tuple(Path(f"{before}{side.strip()}{after}").expanduser() for side in found[0].split(","))


def parallel(paths: tuple[Path, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(row from 1, the texts of this row, one a file), streamed. Lines may be empty.

    Raises InputError where a file has fewer lines than another, with both counts.
    """
    streams = [(text for _, text in lines(path)) for path in paths]
    for row, texts in enumerate(zip_longest(*streams), 1):
        if any(text is None for text in texts):
            ends = [row - (text is None) + sum(1 for _ in stream) for text, stream in zip(texts, streams, strict=True)]
            counted = ", ".join(f"{count:,} in {path}" for count, path in zip(ends, paths, strict=True))
            raise InputError(f"parallel files of unlike length: lines {counted}", expected="the same number in each")
        yield row, texts
