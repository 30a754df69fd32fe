"""The report as one page: HTML with the figures inside, nothing to fetch, made of results.json alone."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from didact.data.store import write_aside
from didact.lab.quickstart import figures
from didact.lab.quickstart.compare import side
from didact.lab.quickstart.looking import BLANK

TEMPLATE = Path(__file__).with_name("page.html")


def write_page(results: Mapping[str, Any], out: Path) -> Path:
    """OUT/report.html; its path."""
    page = out / "report.html"
    write_aside(page, render(results))
    return page


def render(results: Mapping[str, Any]) -> str:
    """results (`results.collect`) -> the page."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(
        side=lambda told, c: side(c, told),
        share=lambda value: "?" if math.isnan(value) else f"{value:.3f}",
        points=lambda value: "?" if math.isnan(value) else f"{100 * value:+.1f}",
        number=lambda value: f"{value:,.0f}",
        minutes=lambda seconds: f"{seconds / 60:.1f}",
        rates=lambda found: ", ".join(f"{rate}: {value:.3f}" for rate, value in found.items()) or "not tried",
    )
    drawn = {
        "comparison": figures.comparison(results["comparison"], results["arms"]),
        "curves": figures.curves(results["pretrain"], results["unigram_nats"], results.get("before", {})),
        "times": figures.times(results["stages"]),
    }
    images = {name: base64.b64encode(svg.encode()).decode() for name, svg in drawn.items()}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    chosen = any(own["rates"] for c in results["comparison"] for own in c["arms"].values())
    return template.render(
        **results,
        chosen=chosen,
        images=images,
        filled_in=[filled(f) for f in results["filled"]],
        rows=_speeds(results),
        blank=BLANK,
    )


def filled(told: Mapping[str, Any]) -> dict[str, Any]:
    """A blank with what stands before and after it, and where among the guesses the word stands that did."""
    before, _, after = told["text"].partition(BLANK)
    top: Sequence[Mapping[str, Any]] = told["top"]
    guessed = [f["token"] for f in top]
    truth = told["truth"]
    return {
        "before": before,
        "after": after,
        "truth": truth,
        "top": top,
        "rank": guessed.index(truth) + 1 if truth in guessed else None,
    }


def _speeds(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a stage: what it did, how fast, in how much memory. Training's speed is that of its steps alone."""
    pretrain, comparison, store = results["pretrain"], results["comparison"], results["store"]
    counts = results["documents"]["counts"]
    arms = [own for c in comparison for own in c["arms"].values()]
    tuned, tuning = sum(own["tokens"] for own in arms), sum(own["seconds"] for own in arms)
    runs = sum(len(own["seeds"]) for own in arms)
    labelled = sum(split["records"] for task in results["tasks"].values() for split in task.values())
    of_stage = {stage["name"]: stage["seconds"] for stage in results["stages"]}
    did = {
        "documents": f"{counts['files']:,} files read, {counts['entries']:,} texts kept",
        "tasks": f"{labelled:,} labelled records",
        "tasks and tokenizer": f"{labelled:,} labelled records, {results['vocabulary']:,} word pieces",
        "store": f"{store['tokens']:,} tokens",
        "pre-training": f"{pretrain['steps']:,} steps, {pretrain['tokens']:,} tokens",
        "fine-tuning and floors": f"{runs} runs that count of {tuned:,} tokens, and those that chose their rates",
    }
    rates = {
        "documents": (counts["files"], of_stage.get("documents", 0.0), "files/s"),
        "store": (store["tokens"], of_stage.get("store", 0.0), "tokens/s"),
        "pre-training": (pretrain["tokens"], pretrain["seconds"], "tokens/s"),
        "fine-tuning and floors": (tuned, tuning, "tokens/s a run"),
    }
    rows = []
    for stage in results["stages"]:
        amount, seconds, unit = rates.get(stage["name"], (0, 0.0, ""))
        rate = f"{amount / seconds:,.0f} {unit}" if seconds else ""
        rows.append(stage | {"did": did.get(stage["name"], ""), "rate": rate})
    return rows
