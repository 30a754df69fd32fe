"""Which column of a file is which field of a task, by name, or by number from 0 where the file names none; one field
from one column or several.

A source is a path (read by `data.records`) or records from Python, mappings of column to value. Records to be predicted
may use the fields' own names, and from Python may be bare: a text, or the texts of a pair. Every complaint names the
file and the row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didact.errors import InputError

Column = str | int
Columns = Mapping[str, Column | tuple[Column, ...]]
Source = str | Path | Iterable[Any]


@dataclass(frozen=True)
class Row:
    """One record: its columns by name (by number where the file names none), and where it stands.

    mapping: the task's columns, by field; loose: a column that is not there may go by the field's name.
    """

    record: Mapping[Any, Any]
    mapping: Columns
    file: str | None = None
    number: int | None = None
    loose: bool = False

    def has(self, field: str) -> bool:
        """Whether the record says something of a field (a column that is there and not null)."""
        columns = self._columns(field)
        return bool(columns) and all(self.record.get(c) is not None for c in columns)

    def value(self, field: str) -> Any:
        """What the record says of a field; of several columns, a list."""
        values = [self._value(column, field) for column in self._columns(field)]
        return values if isinstance(self.mapping.get(field), tuple | list) and len(values) > 1 else values[0]

    def _columns(self, field: str) -> tuple[Column, ...]:
        column = self.mapping.get(field)
        columns = () if column is None else tuple(column) if isinstance(column, tuple | list) else (column,)
        if self.loose and field in self.record and not all(c in self.record for c in columns):
            return (field,)
        return columns

    def text(self, field: str) -> str:
        """A field that is text. Numbers become text as Python writes them."""
        value = self.value(field)
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            return str(value)
        raise self.wrong(f"{field} is {_shown(value)}", "text")

    def texts(self, field: str, separator: str | None = None) -> list[str]:
        """A field that is a list of texts: a list in the record, several columns, or text cut at `separator`
        (None: at white space).
        """
        value = self.value(field)
        if isinstance(value, str):
            return [part.strip() for part in value.split(separator) if part.strip()] if separator else value.split()
        if isinstance(value, list | tuple) and all(isinstance(v, str | bool | int | float) for v in value):
            return [str(v) for v in value]
        raise self.wrong(f"{field} is {_shown(value)}", "a list of texts")

    def number_of(self, field: str) -> float:
        """A field that is a finite number."""
        value = self.value(field)
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self.wrong(f"{field} is {_shown(value)}", "a number") from None
        if number - number != 0:
            raise self.wrong(f"{field} is {_shown(value)}", "a finite number")
        return number

    def wrong(self, found: str, expected: str | None = None) -> InputError:
        """The error that says what is wrong with this row."""
        return InputError(found, file=self.file, row=self.number, expected=expected)

    def _value(self, column: Column, field: str) -> Any:
        value = self.record.get(column)
        if value is not None:
            return value
        if column in self.record:
            raise self.wrong(f"nothing in column {column!r}", f"the {field}")
        there = ", ".join(str(c) for c in self.record)
        raise self.wrong(f"columns {there}", f"{column!r} for the {field} (see the task's `columns`)")


def rows(
    source: Source,
    mapping: Columns,
    format: str | None = None,
    header: bool | None = None,
    loose: bool = False,
    bare: tuple[str, ...] = (),
) -> Iterator[Row]:
    """The rows of a source. format: as `data.records` takes it; header: of tsv and csv, whether the first row names the
    columns, None = it does unless the mapping gives numbers; loose: see `Row`; bare: the fields of a record that is not
    a mapping, in order. Raises InputError.
    """
    if isinstance(source, str | Path):
        from didact.data.records import records  # reading files brings in datasets; records from Python do not

        if header is None:
            named = (c if isinstance(c, tuple | list) else (c,) for c in mapping.values())
            header = not any(isinstance(column, int) for columns in named for column in columns)
        for record in records(source, format, header):
            yield Row(record.fields, mapping, str(source), record.row, loose)
        return
    for number, given in enumerate(source, 1):
        record = _record(given, bare) if loose else given
        if not isinstance(record, Mapping):
            expected = f"a record with {', '.join(str(c) for c in mapping.values())}"
            raise InputError(f"found {_shown(given)}", file="records", row=number, expected=expected)
        yield Row(record, mapping, "records", number, loose)


def _record(given: Any, bare: tuple[str, ...]) -> Any:
    """A bare value as a record: of one field, the value; of several, a text for the first or a text for each."""
    if isinstance(given, Mapping) or not bare:
        return given
    if len(bare) == 1 or isinstance(given, str):
        return {bare[0]: given}
    return dict(zip(bare, given, strict=False)) if isinstance(given, tuple | list) else given


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "…"
