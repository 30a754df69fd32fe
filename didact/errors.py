"""What a person who uses didact can get wrong, said in one line.

The command turns these into exit codes: 2 for `InputError`, 3 for `NotANumber`, 130 for an interruption that was
saved. Every other exception is a bug and keeps its traceback (exit code 1).
"""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """The user's input is wrong: one line that says where, what was found and what was expected.

    `InputError("found label 'postive'", file="train.tsv", row=17, expected="one of negative, positive")` prints
    `train.tsv:17: found label 'postive'; expected one of negative, positive`. Rows count from 1, as editors do.
    """

    def __init__(
        self, found: str, *, file: str | Path | None = None, row: int | None = None, expected: str | None = None
    ) -> None:
        self.found, self.file, self.row, self.expected = found, file, row, expected
        place = "" if file is None else f"{file}{'' if row is None else f':{row}'}: "
        super().__init__(f"{place}{found}" + (f"; expected {expected}" if expected else ""))


class NotANumber(RuntimeError):
    """Training met a loss or gradient that is not finite; the last good checkpoint stands (exit code 3)."""


class Interrupted(RuntimeError):
    """Training was interrupted and saved; the message says how to go on (exit code 130)."""


class Paused(Interrupted):
    """Training has come to the step at which it was to be left, and is saved."""
