"""What the numbers of a grid say, each metric in one sentence, and what they cannot say at their scale.

Two arms that answered the same test file are compared on its examples (paired bootstrap, and what seeds add);
validation and dev figures seed by seed (t interval of the paired differences). Where the interval of a difference
holds 0 the sentence is "no difference at this scale", whatever the means look like; of one seed nothing is said, and
arms that were asked another file are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from didact import hub, objectives
from didact.errors import InputError
from didact.evaluation.intervals import Interval, over_seeds
from didact.families import by_name
from didact.hub.checkpoint import open_checkpoint
from didact.lab import grid as grids
from didact.lab.cells import PRETRAIN
from didact.lab.grid import Grid
from didact.lab.numbers import higher_is_better, shown
from didact.lab.questions import other_questions
from didact.lab.results import Results
from didact.lab.sheets import Sheet
from didact.runs.models import DEFAULT
from didact.runs.runfile import load_plugins
from didact.runs.schema import PretrainRun

Sheets = Mapping[str, Sheet]
"""of each task, as the reference arm was asked it, or the first that has a result"""
Floors = Mapping[str, Mapping[str, Mapping[str, float]]]
"""task -> name of a trivial method -> its scores on the test file"""

LAYERS, WIDTH, TOKENS, SEEDS = 4, 128, 5_000_000, 3
"""the smallest comparison that is worth quoting: 4 layers of 128, tokens read by each arm, seeds"""


@dataclass(frozen=True)
class Comparison:
    """One metric of one arm. value: with its interval; change: less the reference arm's, None for the reference
    itself and where nothing can be paired; how: over what the interval is; seeds: of the difference, the fewer of both
    sides; higher: whether more is better; elsewhere: why it is no comparison, "another test file" than those it stands
    beside, "other validation questions", or "its generator" instead of the model; empty where it is one.
    """

    stage: str
    split: str
    metric: str
    arm: str
    value: Interval
    change: Interval | None
    how: str
    seeds: int
    higher: bool
    elsewhere: str = ""

    @property
    def better(self) -> bool | None:
        """True, False, or None: no difference that this grid can show. One seed shows none."""
        if self.change is None or self.seeds < 2 or not (self.change.above or self.change.below):
            return None
        return self.change.above == self.higher


def compare(grid: Grid, results: Results, sheets: Sheets) -> list[Comparison]:
    """Every metric of every arm that has a result, against the reference arm."""
    exact = {(arm, task): _on_examples(grid, results, sheets, arm, task) for arm in grid.arms for task in grid.finetune}
    found = []
    for stage, split, metric in results.metrics():
        higher = sheets[stage].higher(metric) if stage in sheets else higher_is_better(metric)
        for arm in grid.arms:
            values = results.of(arm, stage, split, metric)
            judged = exact.get((arm, stage), {}).get(metric) if split == "test" else None
            elsewhere = (
                _elsewhere(grid, results, sheets, arm, stage, split)
                or _companion(grid, arm, stage, metric)
                or (_questions(grid, arm, stage, metric) if results.of(grid.first, stage, split, metric) else "")
            )
            if judged is None and values:
                alone = elsewhere or arm == grid.first
                judged = _over_seeds(values, {} if alone else results.of(grid.first, stage, split, metric))
            if judged is not None:
                found.append(Comparison(stage, split, metric, arm, *judged, higher, elsewhere))
    return found


_Judged = tuple[Interval, Interval | None, str, int]


def _on_examples(grid: Grid, results: Results, sheets: Sheets, arm: str, task: str) -> dict[str, _Judged]:
    """metric -> value, change, how and seeds, where the arm was asked this very sheet."""
    sheet = sheets.get(task)
    ours, theirs = (
        results.answers.get((a, task), {})
        if sheet is not None and (run := results.runs.get((a, task))) is not None and sheet.asks(run)
        else {}
        for a in (arm, grid.first)
    )
    if sheet is None or not ours:
        return {}
    changes = sheet.changes(ours, theirs) if arm != grid.first and theirs else {}
    how = f"{_count(len(ours), 'seed')} × {len(sheet.test)} examples"
    seeds = min(len(ours), len(theirs))
    return {metric: (value, changes.get(metric), how, seeds) for metric, value in sheet.scores(ours).items()}


def _elsewhere(grid: Grid, results: Results, sheets: Sheets, arm: str, stage: str, split: str) -> str:
    """Said where an arm's figures are of another dev or test file than those of the sheet, or of the reference."""
    run = results.runs.get((arm, stage))
    base = sheets[stage].run if stage in sheets else results.runs.get((grid.first, stage))
    if run is None or base is None:
        return ""
    ours, theirs = ((r.data.test if split == "test" else r.data.dev, r.data.limit) for r in (run, base))
    return "" if ours == theirs else f"another {split} file"


def _companion(grid: Grid, arm: str, stage: str, metric: str) -> str:
    """Said where a figure of pre-training is not of the arm's model but of one that is trained beside it."""
    if stage != PRETRAIN or not grids.pretrained(grid, arm):
        return ""
    run = grids.pretrain_run(grid, arm, grid.seeds[0], Path("run"))
    load_plugins(run.plugins)
    for objective in objectives.OBJECTIVES:  # which grow with plugins
        if objective.kind in run.objective:
            loss = metric.partition("/")[0].partition("@")[0]
            name = objective.answered_by(run.objective[objective.kind] or {}).get(loss)
            return "" if name is None else f"its {name}"
    return ""


def _questions(grid: Grid, arm: str, stage: str, metric: str) -> str:
    """Said where a figure of pre-training answers other questions than the reference arm's of the same name."""
    if stage != PRETRAIN or not all(grids.pretrained(grid, one) for one in (arm, grid.first)):
        return ""
    ours, theirs = (grids.pretrain_run(grid, one, grid.seeds[0], Path("run")) for one in (arm, grid.first))
    return other_questions(ours, theirs, metric)


def _over_seeds(values: Mapping[int, float], base: Mapping[int, float]) -> _Judged:
    common = [seed for seed in values if seed in base]
    change = over_seeds([values[seed] - base[seed] for seed in common]) if common else None
    how = f"{_count(len(common), 'seed')}, paired" if common else _count(len(values), "seed")
    return over_seeds(list(values.values())), change, how, len(common)


def sentence(comparisons: Sequence[Comparison], reference: str, floors: Mapping[str, float] | None = None) -> str:
    """One metric, all arms, one sentence. floors: trivial methods' scores in it."""
    first = comparisons[0]
    name = f"{first.stage} {first.metric}" + ("" if first.split == "test" else f" ({first.split})")
    base = next((c for c in comparisons if c.arm == reference), None)
    said = [_clause(c, reference) + _above(c, base, floors or {}) for c in comparisons if c.arm != reference]
    alone = "no result" if base is None else f"{reference} {shown(base.value.value)}"
    return f"{name}: {'; '.join(said) or alone}."


def _clause(c: Comparison, reference: str) -> str:
    if c.elsewhere:
        return f"{c.arm} {shown(c.value.value)}, of {c.elsewhere}, not compared"
    if c.change is None:
        return f"{c.arm} {shown(c.value.value)}, nothing of {reference} to compare with"
    if math.isnan(c.change.value):
        return f"{c.arm} {shown(c.value.value)}, its difference from {reference} is undefined"
    change = f"{c.change.value:+.4g}"
    if c.seeds < 2:
        return f"{c.arm} and {reference} differ by {change} in a single seed, which says nothing"
    if math.isnan(c.change.low):
        return f"{c.arm} and {reference} differ by {change}, of which no interval is defined"
    bounds = f"{change} [{c.change.low:+.4g}, {c.change.high:+.4g}]"
    if c.better is None:
        return f"{c.arm} and {reference}: no difference at this scale ({bounds})"
    return f"{c.arm} is {'better' if c.better else 'worse'} than {reference} by {bounds}"


def _above(c: Comparison, base: Comparison | None, floors: Mapping[str, float]) -> str:
    """Of the better one of two arms, whether it is better than the best trivial method too."""
    best, arm = best_floor(floors, c.higher), c if c.better else base
    if c.better is None or best is None or arm is None:
        return ""
    name, floor = best
    least, mean = (arm.value.low, arm.value.value) if c.higher else (-arm.value.high, -arm.value.value)
    bar = floor if c.higher else -floor
    how = "better" if least > bar else "not surely better" if mean > bar else "not better"
    return f" ({arm.arm} is {how} than the best trivial method, {name} {floor:.4g})"


def floors_of(floors: Floors, key: tuple[str, str, str]) -> dict[str, float]:
    """Trivial methods' scores in one metric; they are of the test file."""
    stage, split, metric = key
    named = floors.get(stage, {}) if split == "test" else {}
    return {name: scores[metric] for name, scores in named.items() if metric in scores}


def best_floor(floors: Mapping[str, float], higher: bool) -> tuple[str, float] | None:
    """The trivial method with the best score, of those that have one."""
    defined = {name: value for name, value in floors.items() if not math.isnan(value)}
    if not defined:
        return None
    return (max if higher else min)(defined.items(), key=lambda pair: pair[1])


def verdicts(grid: Grid, comparisons: Sequence[Comparison], floors: Floors | None = None) -> list[str]:
    """A sentence for each metric, in the table's order."""
    found = []
    for key in dict.fromkeys((c.stage, c.split, c.metric) for c in comparisons):
        own = [c for c in comparisons if (c.stage, c.split, c.metric) == key]
        found.append(sentence(own, grid.first, floors_of(floors or {}, key)))
    return found


def short_of(grid: Grid, results: Results | None = None) -> list[str]:
    """In what a grid falls short of the smallest comparison worth quoting; empty where it does not.

    results: the tokens that the arms really read; without them what the budget says.
    """
    missing = []
    if len(grid.seeds) < SEEDS:
        missing.append(f"{_count(len(grid.seeds), 'seed')} (at least {SEEDS})")
    if grid.pretrain_once:
        missing.append(f"1 seed of pre-training (at least {SEEDS})")
    if grid.pretrain is not None:
        arms = [arm for arm in grid.arms if grids.pretrained(grid, arm)]
        runs = {arm: grids.pretrain_run(grid, arm, grid.seeds[0], Path("run")) for arm in arms}
        sizes = {arm: _sizes(run) for arm, run in runs.items()}
        for place, (name, least) in enumerate((("layers", LAYERS), ("width", WIDTH))):
            if small := [arm for arm, own in sizes.items() if own is not None and own[place] < least]:
                missing.append(f"{name} below {least} ({', '.join(small)})")
        if unknown := [arm for arm, own in sizes.items() if own is None]:
            missing.append(f"layers and width not known, for want of the start ({', '.join(unknown)})")
        short = [a for a, run in runs.items() if (n := _tokens(a, run, results)) is not None and n < TOKENS]
        if short:
            missing.append(f"fewer than {TOKENS / 1e6:g} M tokens ({', '.join(short)})")
        if single := [arm for arm in arms if len(grid.rates(arm)) < 2]:
            whose = "for each arm" if len(single) == len(arms) else f"({', '.join(single)})"
            missing.append(f"pre-training rate not tuned {whose}")
    for task in grid.finetune:
        tuned = {arm: grids.finetune_run(grid, arm, task, grid.seeds[0], Path("run"), "start") for arm in grid.arms}
        if single := [arm for arm, run in tuned.items() if len(run.learning_rates) < 2]:
            whose = "for each arm" if len(single) == len(tuned) else f"({', '.join(single)})"
            missing.append(f"{task}: learning rate not tuned {whose}")
        if task not in grid.floors and tuned[grid.first].data.test is None:
            missing.append(f"{task}: no trivial floor (no test file)")
    return missing


def _sizes(run: PretrainRun) -> tuple[int, int] | None:
    """Layers (those that read and, of an encoder-decoder, those that write) and width: what the run says, else what
    its start has, or its family; None where there is no such start.
    """
    load_plugins(run.plugins)
    part, told = run.model, run.model.changes
    start = part.continued or part.start_tiled
    try:
        base = by_name(part.family or DEFAULT).base if start is None else open_checkpoint(hub.fetch(start)).model
    except InputError:
        return None
    layers, width = (told.get(name) or getattr(base, name) for name in ("layers", "width"))
    if base.decoder is None and told.get("decoder") is None:
        return layers, width
    writing = (told.get("decoder") or {}).get("layers") or (base.decoder.layers if base.decoder else None)
    return layers + (writing or layers), width


def _tokens(arm: str, run: PretrainRun, results: Results | None) -> int | None:
    read = [s.tokens for s in results.spent if s.arm == arm and s.tokens] if results is not None else []
    return min(read) if read else run.budget.tokens


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
