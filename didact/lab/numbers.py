"""Figures: as a result file has them, as a report writes them, and which way they are better.

A figure that is undefined is not a number (NaN); result.json, which has no word for that, says null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LOWER_IS_BETTER = ("loss", "bits", "mse", "nll", "perplexity", "error")
RATES_OF_ERROR = ("cer", "wer", "per", "ter")
SPLITS = ("validation", "dev", "test")


def higher_is_better(figure: str) -> bool:
    """By the figure's name, where nothing else tells; what is not a loss is a score."""
    return figure not in RATES_OF_ERROR and not any(word in figure.lower() for word in LOWER_IS_BETTER)


def with_undefined(result: Any) -> Any:
    """A result file's content in which every figure that it calls null is not a number."""
    if not isinstance(result, Mapping):
        return result
    found = {}
    for name, inner in result.items():
        figures = name in SPLITS and isinstance(inner, Mapping)
        found[name] = {k: math.nan if v is None else v for k, v in inner.items()} if figures else with_undefined(inner)
    return found


def shown(value: float, form: str = ".4g") -> str:
    """A figure as reports write it."""
    return "undefined" if math.isnan(value) else f"{value:{form}}"
