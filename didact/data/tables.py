"""Rows of CSV, TSV, JSON and Parquet files, each with its place in the file.

CSV is RFC 4180: fields may stand in double quotes, a quote inside them is doubled, line breaks inside them are kept.
TSV is GLUE's: no quoting, a quote is a character like another; a field holds no tab and no line break.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from didact.data.files import compression, lines, read_text, row_of
from didact.errors import InputError

_FIELD = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")*+)"|(?P<plain>[^",]*))(?P<end>,|\Z)')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")


def delimited(path: Path, quoted: bool, header: bool | None = None) -> Iterator[tuple[int, dict[Any, str]]]:
    """(row, fields) of a CSV file (quoted) or a TSV file; row: the line, from 1, on which the record begins.

    header: whether the first row names the columns; where it does not, columns have numbers, from 0. None: it does
    unless one of its fields is empty, a number, or there twice. Empty lines at the end are dropped.
    Raises InputError where a row has not as many fields as the first, or quotes are not where they may be.
    """
    names: list[Any] | None = None
    rows = _csv(path) if quoted else _tsv(path)
    gap: int | None = None
    for row, fields in rows:
        if names is None:
            named = _names_columns(fields) if header is None else header
            if named and len(set(fields)) < len(fields):
                twice = next(name for i, name in enumerate(fields) if name in fields[:i])
                raise InputError(f"two columns named {twice!r}", file=path, row=row)
            names = list(fields) if named else list(range(len(fields)))
            if named:
                continue
        if fields == [""] and len(names) > 1:
            gap = row if gap is None else gap
            continue
        if gap is not None:
            raise InputError("an empty line among the rows", file=path, row=gap)
        if len(fields) != len(names):
            counted = f"{len(fields)} field{'s' * (len(fields) != 1)}"
            shown = "" if isinstance(names[0], int) else f" ({', '.join(names)})"
            raise InputError(counted, file=path, row=row, expected=f"{len(names)} as in the first row{shown}")
        yield row, dict(zip(names, fields, strict=True))


def _names_columns(fields: list[str]) -> bool:
    return not any(not f.strip() or _NUMBER.match(f.strip()) for f in fields) and len(set(fields)) == len(fields)


def _tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    for row, (_, line) in enumerate(lines(path), 1):
        yield row, line.split("\t")


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    numbered = enumerate((line for _, line in lines(path)), 1)
    for row, line in numbered:
        if '"' not in line:
            yield row, line.split(",")
            continue
        record, quotes = [line], line.count('"')
        while quotes % 2:
            if len(record) == 1:
                _fields(path, row, line, complete=False)  # a stray quote is told here, not at the file's end
            more = next(numbered, None)
            if more is None:
                raise InputError("a quote that is never closed", file=path, row=row, expected="quotes in pairs (CSV)")
            record.append(more[1])
            quotes += more[1].count('"')
        yield row, _fields(path, row, "\n".join(record), complete=True)


def _fields(path: Path, row: int, text: str, complete: bool) -> list[str]:
    fields, at = [], 0
    while True:
        found = _FIELD.match(text, at)
        if found is None:
            if not complete and text[at] == '"' and '"' not in text[at + 1 :].replace('""', ""):
                return fields  # the last field is open
            raise InputError(
                "a quote inside a field", file=path, row=row, expected='the field in quotes, and "" for a quote (CSV)'
            )
        quoted = found["quoted"]
        fields.append(found["plain"] if quoted is None else quoted.replace('""', '"'))
        at = found.end()
        if not found["end"]:
            return fields


def parse_json(text: str, path: str | Path, row: int) -> Any:
    """One JSON value. Raises InputError where it is none, or holds half a surrogate pair, which is no character."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as problem:
        line = row + problem.lineno - 1
        raise InputError(f"not JSON: {problem.msg} (column {problem.colno})", file=path, row=line) from problem
    except RecursionError as problem:
        raise InputError("JSON nested too deeply", file=path, row=row) from problem
    if "\\u" in text and not _encodable(value):
        raise InputError("half a surrogate pair in a JSON string", file=path, row=row, expected="whole characters")
    return value


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def json_lines(path: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(byte, line counted from `start`, from 1, object) of JSON lines that begin in [start, stop). Empty lines pass."""
    for row, (at, line) in enumerate(lines(path, start, stop), 1):
        if not line.strip():
            continue
        try:
            fields = as_object(parse_json(line, path, row), path, row)
        except InputError as problem:
            if start:
                raise InputError(problem.found, file=path, row=row_of(path, at), expected=problem.expected) from None
            raise
        yield at, row, fields


def as_object(value: Any, path: Path, row: int) -> dict[str, Any]:
    """The value, if it is a JSON object. Raises InputError."""
    if not isinstance(value, dict):
        raise InputError(f"a JSON {type(value).__name__}", file=path, row=row, expected="an object, {…}")
    return value


def json_file(path: Path) -> Any:
    """A whole .json file; several objects one a line are taken for a list."""
    text = read_text(path)
    first, _, rest = text.strip().partition("\n")
    if first.startswith("{") and first.endswith("}") and rest.lstrip().startswith("{"):
        return [value for _, _, value in json_lines(path)]
    return parse_json(text, path, 1)


def json_objects(path: Path, content: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row from 1, object) of what a .json file holds: a list, or one under the key "data"."""
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, list):
        raise InputError(f"a JSON {type(content).__name__}", file=path, expected="a list of objects")
    for row, value in enumerate(content, 1):
        yield row, as_object(value, path, row)


def parquet(path: Path, groups: range | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row from 1, fields) of a Parquet file, or of some of its row groups. Raises InputError."""
    import pyarrow as pa

    with opened_parquet(path) as file:
        chosen = range(file.num_row_groups) if groups is None else groups
        row = 1 + sum(file.metadata.row_group(i).num_rows for i in range(chosen.start))
        try:
            for batch in file.iter_batches(batch_size=1024, row_groups=list(chosen)):
                for fields in batch.to_pylist():
                    yield row, fields
                    row += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as problem:
            raise InputError(f"damaged Parquet ({_first_line(problem)})", file=path, row=row) from problem


def opened_parquet(path: Path) -> Any:
    """The file as pyarrow's ParquetFile. Raises InputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if compression(path) is not None:
        raise InputError("a compressed Parquet file", file=path, expected="Parquet as it is (it is compressed inside)")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as problem:
        raise InputError(f"not Parquet, or cut short ({_first_line(problem)})", file=path) from problem


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
