"""Accuracy by number of shots, a line a rule, with intervals; chance as a broken line. PNG, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any


def plot(result: Mapping[str, Any]) -> bytes:
    """result: as `didact fewshot` writes it (result.json)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    shots = list(dict.fromkeys(found["shots"] for found in result["results"]))
    for rule in dict.fromkeys(found["scoring"] for found in result["results"]):
        own = [found for found in result["results"] if found["scoring"] == rule]
        values = [found["accuracy"] for found in own]
        reach = [[max(0.0, v["value"] - v["low"]) for v in values], [max(0.0, v["high"] - v["value"]) for v in values]]
        places = [shots.index(found["shots"]) for found in own]
        axes.errorbar(places, [v["value"] for v in values], yerr=reach, marker="o", capsize=3, label=rule)
    axes.axhline(result["floors"]["chance"], linestyle="--", linewidth=1, color="0.5", label="chance")
    axes.set_xticks(range(len(shots)), [str(count) for count in shots])
    axes.set_xlabel("shots")
    axes.set_ylabel("accuracy")
    axes.set_title(f"{result['task']}: {result['questions']:,} questions", fontsize=9)
    axes.grid(linewidth=0.3)
    axes.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    return stream.getvalue()
