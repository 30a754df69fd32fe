"""Figures: as a report writes them, and which way they are better."""

from __future__ import annotations

import math

LOWER_IS_BETTER = ("loss", "bits", "mse", "nll", "perplexity", "error")
RATES_OF_ERROR = ("cer", "wer", "per", "ter")


def higher_is_better(figure: str) -> bool:
    """By the figure's name, where nothing else tells; what is not a loss is a score."""
    return figure not in RATES_OF_ERROR and not any(word in figure.lower() for word in LOWER_IS_BETTER)


def shown(value: float, form: str = ".4g") -> str:
    """A figure as reports write it."""
    return "undefined" if math.isnan(value) else f"{value:{form}}"
