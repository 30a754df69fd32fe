"""A template: text with the fields of a record in braces, and one `{answer}`.

    Review: {text}
    Sentiment: {answer}

Doubled braces stand for braces. What comes after the answer is read by models that see both sides, and in
demonstrations; models that read from left to right are asked for it where it holds a field.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from didact.errors import InputError

ANSWER = "answer"


@dataclass(frozen=True)
class Template:
    """before, after: of the answer, each (text, the field that follows it or None) in order."""

    before: tuple[tuple[str, str | None], ...]
    after: tuple[tuple[str, str | None], ...]

    @staticmethod
    def parse(text: str) -> Template:
        """Raises InputError for a template without an answer, with two, or with more in braces than a name."""
        try:
            pieces = list(string.Formatter().parse(text))
        except ValueError as problem:
            raise InputError(f"template {text!r}: {problem}", expected="names in braces") from None
        parts: list[tuple[str, str | None]] = []
        cut: int | None = None
        text_so_far = ""  # a doubled brace ends a piece, too, without a field
        for literal, name, form, conversion in pieces:
            text_so_far += literal
            if name is None:
                continue
            if form or conversion or not name or any(c in name for c in ".[]!:"):
                raise InputError(f"template {text!r}: {{{name}}}", expected="a plain name in braces")
            if name == ANSWER:
                if cut is not None:
                    raise InputError(f"template {text!r} has two answers", expected="one {answer}")
                cut = len(parts) + 1
            parts.append((text_so_far, None if name == ANSWER else name))
            text_so_far = ""
        if text_so_far:
            parts.append((text_so_far, None))
        if cut is None:
            raise InputError(f"template {text!r} has no {{answer}}", expected="one, where the answer stands")
        return Template(tuple(parts[:cut]), tuple(parts[cut:]))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that it reads."""
        return tuple(dict.fromkeys(name for _, name in (*self.before, *self.after) if name is not None))

    @property
    def texts(self) -> tuple[str, ...]:
        """What stands between the fields."""
        return tuple(literal for literal, _ in (*self.before, *self.after))

    @property
    def tells(self) -> bool:
        """Whether a field follows the answer."""
        return any(name is not None for _, name in self.after)

    def sides(self, fields: Mapping[str, str]) -> tuple[str, str]:
        """What stands before the answer and what stands after it."""
        before, after = (
            "".join(literal + ("" if name is None else fields[name]) for literal, name in part)
            for part in (self.before, self.after)
        )
        return before, after

    @property
    def domain(self) -> tuple[str, str]:
        """The text around the answer up to the nearest fields: what says what kind of thing is asked, and of nothing
        in particular ("Sentiment: ").
        """
        _, near = self.before[-1], [self.before[-1][0]]
        after = [self.after[0][0]] if self.after else []
        return near[0].lstrip(), "".join(after).rstrip()


def value_of(fields: Mapping[Any, Any], name: str, where: str | None, row: int | None) -> Any:
    """A field of a record: by its name, or its number where the file names none. Raises InputError for one that there
    is not.
    """
    key: Any = int(name) if name not in fields and name.isdecimal() and int(name) in fields else name
    if key in fields:
        return fields[key]
    there = ", ".join(map(str, fields))
    raise InputError(f"no field {name!r}", file=where, row=row, expected=f"one of {there}")


def text_of(fields: Mapping[Any, Any], name: str, where: str | None, row: int | None) -> str:
    """A field of a record as text; see `value_of`. Raises InputError, also for what is no text."""
    value = value_of(fields, name, where, row)
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    raise InputError(f"{name} is {value!r}"[:80], file=where, row=row, expected="text")
