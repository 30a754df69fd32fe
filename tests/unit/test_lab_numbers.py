"""Figures: which way they are better, and what becomes of those that are undefined."""

from __future__ import annotations

import math

import pytest

from didact.lab.numbers import higher_is_better, shown


@pytest.mark.parametrize(
    ("figure", "higher"),
    [
        ("accuracy", True),
        ("mlm@15/accuracy", True),
        ("bits_per_byte@0.15", False),
        ("loss/mlm", False),
        ("mlm@15/loss", False),
        ("f1_macro", True),
        ("nll", False),
        ("perplexity", False),
        ("cer", False),
        ("rougeL", True),
    ],
)
def test_which_way_is_better(figure: str, higher: bool) -> None:
    assert higher_is_better(figure) is higher


def test_how_a_figure_is_written() -> None:
    assert [shown(0.12345), shown(0.5, "+.4g"), shown(math.nan, "+.4g")] == ["0.1235", "+0.5", "undefined"]
