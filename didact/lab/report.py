"""A grid's report: one self-contained page (HTML, figures inside), and the same table as Markdown, CSV and JSON."""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from didact.evaluation.intervals import Interval
from didact.lab.figures import curves, forest
from didact.lab.findings import Findings
from didact.lab.grid import Grid
from didact.lab.numbers import shown
from didact.lab.results import Results, Spent
from didact.lab.verdict import Comparison, short_of, verdicts

Table = list[list[str]]
PAGE = Path(__file__).with_name("report.html")
NOTE = (
    "Every interval is of 95 % and for itself: with many metrics, about one in twenty lies beside the truth by chance, "
    "of an arm's own scores up to one in eight with two seeds and one in thirteen with three. Of a difference it is "
    "paired: over the test examples, with what the seeds of either side add, where each example's part is known; else "
    "seed by seed."
)


def write(f: Findings, out: Path) -> Path:
    """OUT/report.html, report.md, results.csv, results.json, figure.png, curves.png; the page's path."""
    figures = {"figure": forest(f), "curves": curves(f)}
    drawn = {name: png for name, png in figures.items() if png is not None}
    for name, png in figures.items():
        (out / f"{name}.png").unlink(missing_ok=True)  # of an earlier start
        if png is not None:
            (out / f"{name}.png").write_bytes(png)
    said, notes = verdicts(f.grid, f.comparisons, f.floors), _notes(f)
    tables = {"Results": table(f), "What it took": spent(f.grid, f.results)}
    if f.grid.papers:
        tables["Beside the papers"] = beside_papers(f)
    (out / "report.md").write_text(_markdown(f.grid, said, notes, tables, list(drawn)), encoding="utf-8")
    with (out / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "seed", "stage", "split", "metric", "value"])
        writer.writerows([s.arm, s.seed, s.stage, s.split, s.metric, s.value] for s in f.results.scores)
    (out / "results.json").write_text(json.dumps(_json(f, said, notes), indent=1, allow_nan=False), encoding="utf-8")
    page = out / "report.html"
    page.write_text(_page(f.grid, said, notes, tables, drawn), encoding="utf-8")
    return page


def table(f: Findings) -> Table:
    """Header and rows: one line an arm and metric, trivial methods above the scores they are to be held against."""
    rows = [["task", "metric", "arm", "value", "95 %", "less " + f.grid.first, "95 %", "over", "each seed"]]
    for key in f.keys:
        stage, split, metric = key
        called = metric if split == "test" else f"{metric} ({split})"
        for name, value in f.floors_of(key).items():
            rows.append([stage, called, f"trivial: {name}", shown(value), "", "", "", "", ""])
        for arm, c in f.of(key).items():
            change = ["", ""] if c.change is None else [shown(c.change.value, "+.4g"), _bounds(c.change, "+")]
            each = " ".join(shown(value) for value in f.results.of(arm, stage, split, metric).values())
            rows.append([stage, called, arm, shown(c.value.value), _bounds(c.value), *change, _over(c), each])
    return rows


def spent(grid: Grid, results: Results) -> Table:
    """What each arm took, averaged over its seeds, and the sum of what trials of learning rates took that are none of
    its runs: header and rows.
    """
    rows = [["stage", "arm", "learning rate", "steps", "tokens", "FLOP", "seconds"]]
    for stage in dict.fromkeys(s.stage for s in results.spent + results.discarded):
        for of, name in ((results.spent, stage), (results.discarded, f"{stage}, other trials of rates, all together")):
            for arm in grid.arms:
                found = [s for s in of if (s.stage, s.arm) == (stage, arm)]
                if found:
                    runs = len(found) if of is results.spent else 1
                    rows.append([name, arm, *_took(found, runs)])
    return rows


def _took(found: Sequence[Spent], runs: int) -> list[str]:
    """Rates, and steps, tokens, FLOPs and seconds of one of so many runs."""
    each = {k: sum(asdict(s)[k] for s in found) / runs for k in ("steps", "tokens", "flops", "seconds")}
    rates = "  ".join(dict.fromkeys(f"{s.rate:g}" for s in found))
    tokens = f"{each['tokens']:,.0f}" if each["tokens"] else ""
    return [rates, f"{each['steps']:,.0f}", tokens, f"{each['flops']:.3g}", f"{each['seconds']:,.0f}"]


def beside_papers(f: Findings) -> Table:
    """A line for each published figure, and below it ours where one is named: each arm, less the reference's."""
    arms, first = list(f.grid.arms), f.grid.first
    rows = [["source", "measure", *arms]]
    for paper in f.grid.papers:
        base = paper.arms.get(first)
        said = {
            a: f"{v:g}" + ("" if a == first or base is None else f" ({v - base:+.3g})") for a, v in paper.arms.items()
        }
        rows.append([paper.source, paper.measure, *(said.get(arm, "") for arm in arms)])
        stage, _, metric = paper.beside.partition("/")
        found = {arm: c for key in f.keys if (key[0], key[2]) == (stage, metric) for arm, c in f.of(key).items()}
        if paper.beside and not found:
            rows.append(["here", f"{paper.beside}: no such figure", *("" for _ in arms)])
        if found:
            ours = {
                arm: shown(c.value.value)
                + ("" if c.change is None else f" ({shown(c.change.value, '+.3g')} {_bounds(c.change, '+')})")
                for arm, c in found.items()
            }
            rows.append(["here", f"{stage} {metric}", *(ours.get(arm, "") for arm in arms)])
    return rows


def _notes(f: Findings) -> list[str]:
    grid, carried, notes = f.grid, f.carried, []
    if small := short_of(grid, f.results):
        notes.append("Below the smallest comparison worth quoting: " + "; ".join(small) + ".")
    if grid.pretrain_once:
        notes.append("Each arm was pre-trained once: intervals are of fine-tuning's seeds and test examples alone.")
    notes += [f"Failed: {failed.name}: {failed.reason}" for failed in carried.failures]
    for arm, rate in carried.rates.items():
        tried = ", ".join(f"{r:g}: {shown(v)}" for r, v in carried.tried[arm].items())
        notes.append(f"{arm}: learning rate {rate:g} by {grid.learning_rates.by} ({tried}).")
    if carried.steps:
        steps = ", ".join(f"{arm} {n:,} steps" for arm, n in carried.steps.items())
        notes.append(f"Equal measured FLOPs: {steps}.")
    return [*notes, NOTE]


def _over(c: Comparison) -> str:
    return c.how + (f", {c.elsewhere}" if c.elsewhere else "")


def _bounds(value: Interval, sign: str = "") -> str:
    return "" if math.isnan(value.low) else f"[{value.low:{sign}.4g}, {value.high:{sign}.4g}]"


def _markdown(
    grid: Grid, said: Sequence[str], notes: Sequence[str], tables: Mapping[str, Table], figures: Sequence[str]
) -> str:
    lines = [f"# {grid.grid}", "", *([grid.question, ""] if grid.question else []), *(f"- {s}" for s in said), ""]
    for title, rows in tables.items():
        header, *body = rows
        lines += [f"## {title}", ""]
        for row in (header, ["---"] * len(header), *body):
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        lines.append("")
    lines += [*(f"> {note}\n>" for note in notes), ""]
    lines += [f"![{name}]({name}.png)" for name in figures]
    return "\n".join(lines) + "\n"


def _json(f: Findings, said: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    return _finite(
        {
            "grid": f.grid.model_dump(mode="json"),
            "reference": f.grid.first,
            "verdicts": list(said),
            "notes": list(notes),
            "rates": f.carried.rates,
            "steps": f.carried.steps,
            "failures": [asdict(failed) for failed in f.carried.failures],
            "comparisons": [asdict(c) | {"better": c.better} for c in f.comparisons],
            "floors": f.floors,
            "scores": [asdict(s) for s in f.results.scores],
            "spent": [asdict(s) for s in f.results.spent],
            "discarded": [asdict(s) for s in f.results.discarded],
        }
    )


def _finite(value: Any) -> Any:
    """NaN (an interval that one seed does not have) as null: JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(
    grid: Grid, said: Sequence[str], notes: Sequence[str], tables: Mapping[str, Table], figures: Mapping[str, bytes]
) -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(PAGE.read_text(encoding="utf-8"))
    images = {name: base64.b64encode(png).decode() for name, png in figures.items()}
    arms = yaml.safe_dump(grid.model_dump(mode="json")["arms"], sort_keys=False, allow_unicode=True)
    return template.render(grid=grid, arms=arms, said=said, notes=notes, tables=tables, images=images)
