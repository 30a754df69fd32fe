"""What the benchmarks measured: a table for the reader, JSON lines for the record."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from didact.lab.bench.measure import Outcome, Spread

COLUMNS = ("", "rate", "s a round", "didact is faster by", "s before")


def rows(outcome: Outcome) -> list[list[str]]:
    """The case's name, then one line a contender: median rate (smallest – largest of the rounds), seconds, ratio
    likewise, and seconds it took to get ready.
    """
    case = outcome.case
    lines = [[f"{case.benchmark}: {case.name}", f"{case.unit}/s", "", "", ""]]
    for number, contender in enumerate(case.contenders):
        timing = outcome.timings[contender.name]
        ratio = outcome.ratio(contender.name) if number else None
        lines.append(
            [
                f"  {contender.name}",
                f"{number_of(timing.rate.median)} ({_spread(timing.rate)})",
                number_of(timing.time.median),
                "" if ratio is None else f"{ratio.median:.2f} x ({ratio.low:.2f} – {ratio.high:.2f})",
                number_of(timing.first),
            ]
        )
    return lines


def record(outcome: Outcome, machine: Mapping[str, Any], small: bool = False) -> dict[str, Any]:
    """A line for the record: everything, rounds one by one. small: sizes at which times mean nothing."""
    case = outcome.case
    return {
        "benchmark": case.benchmark,
        "case": case.name,
        "unit": case.unit,
        "small": small,
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": dict(machine),
        "settings": dict(case.settings),
        "seconds": {name: list(t.seconds) for name, t in outcome.timings.items()},
        "units": {name: list(t.units) for name, t in outcome.timings.items()},
        "ready": {name: t.first for name, t in outcome.timings.items()},
        "ratio": {c.name: vars(outcome.ratio(c.name)) for c in case.contenders[1:]},
        "facts": dict(outcome.facts),
    }


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """A table of records, one row a contender: median rate and ratio (smallest – largest of the rounds)."""
    table = ["| case | side | rate | didact is faster by |", "| --- | --- | --- | --- |"]
    for line in lines:
        for number, (name, seconds) in enumerate(line["seconds"].items()):
            rate = Spread.of([u / s for u, s in zip(line["units"][name], seconds, strict=True)])
            said = f"{number_of(rate.median)} {line['unit']}/s ({_spread(rate)})"
            ratio = line["ratio"].get(name)
            faster = "" if ratio is None else f"{ratio['median']:.2f} x ({ratio['low']:.2f} – {ratio['high']:.2f})"
            head = "" if number else f"{line['benchmark']}: {line['case']}"
            table.append(f"| {head} | {name} | {said} | {faster} |")
    return "\n".join(table)


def append(line: Mapping[str, Any], file: Path) -> None:
    """Add a line to a file of JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def number_of(value: float) -> str:
    """Three significant digits, thousands apart: 12,300, 4.56, 0.0123."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(spread: Spread) -> str:
    return f"{number_of(spread.low)} – {number_of(spread.high)}"
