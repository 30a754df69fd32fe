"""What the numbers of a grid say, each metric in one sentence, and what they cannot say at their scale.

Two arms that answered the same test file are compared on its examples (paired bootstrap, examples and seeds drawn);
validation and dev figures seed by seed (t interval of the paired differences). Where the interval of a difference
holds 0 the sentence is "no difference at this scale", whatever the means look like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from didact.evaluation.intervals import Interval, over_seeds
from didact.families import by_name
from didact.lab import grid as grids
from didact.lab.grid import Grid
from didact.lab.numbers import higher_is_better
from didact.lab.results import Results
from didact.lab.sheets import Sheet
from didact.runs.models import DEFAULT
from didact.runs.schema import PretrainRun

Sheets = Mapping[str, Sheet]
"""of each task, as the reference arm was asked it"""

LAYERS, WIDTH, TOKENS, SEEDS = 4, 128, 5_000_000, 3
"""the smallest comparison that is worth quoting: 4 layers of 128, tokens read by each arm, seeds"""


@dataclass(frozen=True)
class Comparison:
    """One metric of one arm. value: with its interval; change: less the reference arm's, None for the reference
    itself and where nothing can be paired; how: over what the interval is; higher: whether more is better.
    """

    stage: str
    split: str
    metric: str
    arm: str
    value: Interval
    change: Interval | None
    how: str
    higher: bool

    @property
    def better(self) -> bool | None:
        """True, False, or None: no difference that this grid can show."""
        if self.change is None or not (self.change.above or self.change.below):
            return None
        return self.change.above == self.higher


def compare(grid: Grid, results: Results, sheets: Sheets) -> list[Comparison]:
    """Every metric of every arm that has a result, against the reference arm."""
    exact = {(arm, task): _on_examples(grid, results, sheets, arm, task) for arm in grid.arms for task in grid.finetune}
    found = []
    for stage, split, metric in results.metrics():
        for arm in grid.arms:
            values = results.of(arm, stage, split, metric)
            judged = exact.get((arm, stage), {}).get(metric) if split == "test" else None
            if judged is None and values:
                judged = _over_seeds(values, results.of(grid.first, stage, split, metric), arm == grid.first)
            if judged is not None:
                found.append(Comparison(stage, split, metric, arm, *judged, higher_is_better(metric)))
    return found


_Judged = tuple[Interval, Interval | None, str]


def _on_examples(grid: Grid, results: Results, sheets: Sheets, arm: str, task: str) -> dict[str, _Judged]:
    """metric -> value, change and how, where the arm answered the reference's own test file."""
    sheet, run = sheets.get(task), results.runs.get((arm, task))
    ours, theirs = (results.answers.get((a, task), {}) for a in (arm, grid.first))
    base = results.runs.get((grid.first, task), run)
    if sheet is None or not ours or run is None or base is None or (run.data, run.task) != (base.data, base.task):
        return {}
    changes = sheet.changes(ours, theirs) if arm != grid.first and theirs else {}
    how = f"{_count(len(ours), 'seed')} × {len(sheet.test)} examples"
    return {metric: (value, changes.get(metric), how) for metric, value in sheet.scores(ours).items()}


def _over_seeds(values: Mapping[int, float], base: Mapping[int, float], reference: bool) -> _Judged:
    common = [] if reference else [seed for seed in values if seed in base]
    change = over_seeds([values[seed] - base[seed] for seed in common]) if common else None
    how = f"{_count(len(common), 'seed')}, paired" if common else _count(len(values), "seed")
    return over_seeds(list(values.values())), change, how


def sentence(comparisons: Sequence[Comparison], reference: str) -> str:
    """One metric, all arms, one sentence."""
    first = comparisons[0]
    name = f"{first.stage} {first.metric}" + ("" if first.split == "test" else f" ({first.split})")
    said = [_clause(c, reference) for c in comparisons if c.arm != reference]
    base = next((f"{reference} {c.value.value:.4g}" for c in comparisons if c.arm == reference), "")
    return f"{name}: {'; '.join([*said] or [base or 'no result'])}."


def _clause(c: Comparison, reference: str) -> str:
    if c.change is None:
        return f"{c.arm} {c.value.value:.4g}, nothing of {reference} to compare with"
    change = f"{c.change.value:+.4g}"
    if math.isnan(c.change.low):
        return f"{c.arm} and {reference} differ by {change} in a single seed, which says nothing"
    bounds = f"{change} [{c.change.low:+.4g}, {c.change.high:+.4g}]"
    if c.better is None:
        return f"{c.arm} and {reference}: no difference at this scale ({bounds})"
    return f"{c.arm} is {'better' if c.better else 'worse'} than {reference} by {bounds}"


def verdicts(grid: Grid, comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence for each metric, in the table's order."""
    keys = dict.fromkeys((c.stage, c.split, c.metric) for c in comparisons)
    return [sentence([c for c in comparisons if (c.stage, c.split, c.metric) == key], grid.first) for key in keys]


def short_of(grid: Grid, results: Results | None = None) -> list[str]:
    """In what a grid falls short of the smallest comparison worth quoting; empty where it does not.

    results: the tokens that the arms really read; without them what the budget says.
    """
    missing = []
    if len(grid.seeds) < SEEDS:
        missing.append(f"{_count(len(grid.seeds), 'seed')} (at least {SEEDS})")
    if grid.pretrain is not None:
        arms = [arm for arm in grid.arms if grids.pretrained(grid, arm)]
        runs = {arm: grids.pretrain_run(grid, arm, grid.seeds[0], Path("run")) for arm in arms}
        for name, least, size in (("layers", LAYERS, _layers), ("width", WIDTH, partial(_size, name="width"))):
            small = [a for a, run in runs.items() if (size(run) or least) < least]
            if small:
                missing.append(f"{name} below {least} ({', '.join(small)})")
        short = [a for a, run in runs.items() if (n := _tokens(a, run, results)) is not None and n < TOKENS]
        if short:
            missing.append(f"fewer than {TOKENS / 1e6:g} M tokens ({', '.join(short)})")
        if len(grid.learning_rates.pretrain) < 2:
            missing.append("pre-training rate not tuned for each arm")
    for task in grid.finetune:
        run = grids.finetune_run(grid, grid.first, task, grid.seeds[0], Path("run"), "start")
        if len(run.learning_rates) < 2:
            missing.append(f"{task}: learning rate not tuned for each arm")
        if task not in grid.floors and run.data.test is None:
            missing.append(f"{task}: no trivial floor (no test file)")
    return missing


def _size(run: PretrainRun, name: str) -> int | None:
    """A size of the model as the run file gives it; None where it is the family's own (large enough)."""
    value: Any = run.model.changes.get(name)
    return value if isinstance(value, int) else None


def _layers(run: PretrainRun) -> int | None:
    """Those that read and, of an encoder-decoder, those that write."""
    encoder, changed = _size(run, "layers"), run.model.changes.get("decoder")
    if encoder is None or (changed is None and by_name(run.model.family or DEFAULT).base.decoder is None):
        return encoder
    return encoder + ((changed or {}).get("layers") or encoder)


def _tokens(arm: str, run: PretrainRun, results: Results | None) -> int | None:
    read = [s.tokens for s in results.spent if s.arm == arm and s.tokens] if results is not None else []
    return min(read) if read else run.budget.tokens


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
