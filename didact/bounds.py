"""Bounds that numbers of configurations keep, whoever sets them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from didact.errors import InputError


def check_counts(**counts: int | None) -> None:
    """ValueError where one is below 1; None is left to others."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} {count}: at least 1")


def check_numbers(least: float = -math.inf, **numbers: float | None) -> None:
    """ValueError where one is infinite, not a number, or below `least`; None is left to others."""
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{name} {number}: a finite number")
        if number is not None and number < least:
            raise ValueError(f"{name} {number}: at least {least:g}")


def check_positive(**numbers: float | None) -> None:
    """ValueError where one is not above 0, or infinite; None is left to others."""
    for name, number in numbers.items():
        if number is not None and not 0.0 < number < math.inf:
            raise ValueError(f"{name} {number}: a number above 0")


def check_dropout(**rates: float | None) -> None:
    """ValueError where one is not in [0, 1); None is left to others."""
    for name, rate in rates.items():
        if rate is not None and not 0.0 <= rate < 1.0:
            raise ValueError(f"{name} {rate}: a share, from 0 to below 1")


def check_plain(settings: Any, names: Iterable[str], where: str, expected: str) -> None:
    """InputError where one of these fields of a dataclass, which have no effect `where` things are as they are, is not
    as it comes: who sets one believes that it does something.
    """
    for name in names:
        if getattr(settings, name) != type(settings).__dataclass_fields__[name].default:
            raise InputError(f"{name} {getattr(settings, name)!r}, and {where}", expected=expected)
