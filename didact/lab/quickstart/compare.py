"""Pre-trained against scratch against the floors, and against what pre-training went on from, where it went on from
something: every difference with its paired interval, on the same test examples.

Examples of one package subtree belong together (they share a library, an author, a subject, a style), and went to the
test as a whole: the bootstrap draws subtrees, and fine-tuning's seeds on either side widen its interval. The learning
rate of each side was chosen on the dev set. Pre-training was run once: its own seed is in no interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from didact.data.store import write_aside
from didact.evaluation.floors import floors_of
from didact.evaluation.intervals import Interval, difference, interval
from didact.lab.quickstart import plan as plans
from didact.lab.quickstart.plan import PRETRAINED, SCRATCH, START, Plan
from didact.runs.build import learned, task_of
from didact.tasks import Item, Task
from didact.tasks.metrics import Floats

# What each task is, and the test's way of saying it in the report.
MEANING = {
    "topic": "Which library does this text come from? (names masked)",
    "roles": "What is each identifier in this code?",
    "pairs": "Does this description belong to this signature? (else another of the same module)",
    "answers": "What does this parameter mean? The words that say so.",
}


def floors(out: str | Path) -> None:
    """OUT/floors.json: every trivial method that suits a task, on the same training records and test file."""
    out = Path(out)
    plan = plans.read(out / "plan.yaml")
    told: dict[str, Any] = {}
    for name in plan.tasks:
        task, train, test = task_and_items(plan, out, name)
        metric, gold = task.metrics()[0], task.gold(test)
        told[name] = {}
        for floor in floors_of(task):
            predicted = task.predicted(floor.fit(task, train)(test), test)
            told[name][floor.name] = metric.units(predicted, gold).tolist()
            print(f"{name}: {floor.name} {metric.name} {metric(predicted, gold):.4f}", flush=True)
    write_aside(out / "floors.json", json.dumps(told))


def task_and_items(plan: Plan, out: Path, name: str) -> tuple[Task, list[Item], list[Item]]:
    """The task as fine-tuning had it, the training records and the test's records that it used, with their groups."""
    run = plans.finetune_run(plan, out, name, PRETRAINED)
    ((kind, own),) = run.task.items()
    columns = {**(own or {}).get("columns", {}), "group": "group"}
    task = task_of({kind: {**(own or {}), "columns": columns}}, run.length)
    assert isinstance(run.data.train, Path)
    assert run.data.test is not None
    train = task.items(run.data.train, limit=run.data.limit)
    return learned(task, train), train, task.items(run.data.test, limit=run.data.limit)


def compare(plan: Plan, out: Path) -> list[dict[str, Any]]:
    """One record a task, JSON-able: figures with intervals, the rates that were tried, times."""
    trivial = json.loads((out / "floors.json").read_text(encoding="utf-8"))
    found = []
    for name in plan.tasks:
        task, train, test = task_and_items(plan, out, name)
        results = {arm: _result(out, name, arm) for arm in plan.arms}
        units = {arm: _units(out, name, arm, list(results[arm]["seeds"])) for arm in plan.arms}
        floor_units = {floor: np.array(own, np.float64) for floor, own in trivial[name].items()}
        found.append(_one(name, task, train, test, results, units, floor_units))
    return found


def _one(
    name: str,
    task: Task,
    train: Sequence[Item],
    test: Sequence[Item],
    results: Mapping[str, Any],
    units: Mapping[str, list[Floats]],
    trivial: Mapping[str, Floats],
) -> dict[str, Any]:
    metric, groups = task.metrics()[0], task.groups(test)

    def less(arm: str, baseline: Any) -> dict[str, float]:
        return difference(metric, units[arm], baseline, groups, new_seeds=True).to_json()

    def alone(own: Any) -> dict[str, float]:
        return interval(metric, own, groups, new_seeds=True).to_json()

    values = {floor: alone(own) for floor, own in trivial.items()}
    sign = 1 if metric.higher else -1
    best = max(values, key=lambda floor: sign * values[floor]["value"])
    over = {floor: less(PRETRAINED, own) for floor, own in trivial.items()}
    return {
        "task": name,
        "meaning": MEANING.get(name, ""),
        "metric": metric.name,
        "higher": metric.higher,
        "train": len(train),
        "test": len(test),
        "groups": len(test) if groups is None else len(set(groups)),
        "floors": values,
        "best_floor": best,
        "arms": {arm: alone(units[arm]) | _told(own, metric.name) for arm, own in results.items()},
        "difference": less(PRETRAINED, units[SCRATCH]),
        "over_floors": over,
        "over_floor": over[best],
        "start": {"over_scratch": less(START, units[SCRATCH]), "gained": less(PRETRAINED, units[START])}
        if START in units
        else None,
    }


def _told(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """What an arm's runs tell of themselves: each seed's score, the rates that were tried, and how much it took."""
    seeds = list(result["seeds"].values())
    return {
        "seeds": [own["test"][metric] for own in seeds],
        "rate": result["learning_rate"],
        "rates": result["learning_rates"],
        "steps": seeds[0]["steps"],
        "tokens": sum(own["tokens"] for own in seeds),
        "seconds": sum(own["seconds"] for own in seeds),
    }


def _result(out: Path, task: str, arm: str) -> dict[str, Any]:
    return json.loads((out / "finetune" / f"{task}-{arm}" / "result.json").read_text(encoding="utf-8"))


def _units(out: Path, task: str, arm: str, seeds: Sequence[str]) -> list[Floats]:
    """(n, k) of each seed: what each test example brings to the metric."""
    found = []
    for seed in seeds:
        file = out / "finetune" / f"{task}-{arm}" / f"seed-{seed}" / "predictions-test.jsonl"
        rows = [json.loads(line)["units"] for line in file.read_text(encoding="utf-8").split("\n") if line]
        found.append(np.array([row if isinstance(row, list) else [row] for row in rows], np.float64))
    return found


def verdicts(comparison: Sequence[Mapping[str, Any]]) -> list[str]:
    """What came of it, first in one sentence for all, then one for each task: whichever way it fell."""
    found = {c["task"]: _sides(c, "difference") for c in comparison}
    over = [c["task"] for c in comparison if all(side(c, own) > 0 for own in c["over_floors"].values())]
    under = [c["task"] for c in comparison if any(side(c, own) < 0 for own in c["over_floors"].values())]
    adapted = any(c["start"] is not None for c in comparison)
    ours = "The start, adapted to this corpus," if adapted else "Pre-training"
    said = _fell(f"{ours} beats the same model from scratch", found)
    said += f"; above every trivial method on {', '.join(over) or 'none'}"
    said += f", below one on {', '.join(under)}." if under else "."
    return [said, *_reservations(comparison), *_starts(comparison), *(sentence(c) for c in comparison)]


def _reservations(comparison: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the intervals do not know."""
    said = "Pre-training was run once: the intervals are of fine-tuning's seeds and of the test's packages alone."
    single = [c["task"] for c in comparison if _single(c)]
    if not single:
        return [said]
    return [said, f"One seed a side says nothing of another: no verdict on {', '.join(single)}."]


def _starts(comparison: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the start does by itself, and what going on from it adds."""
    of = [c for c in comparison if c["start"] is not None]
    if not of:
        return []
    alone, gained = ({c["task"]: _sides(c, key) for c in of} for key in ("over_scratch", "gained"))
    return [
        _fell("As it comes, the start beats scratch", alone) + ".",
        _fell("Going on with pre-training on this corpus beats the start as it comes", gained) + ".",
    ]


def _fell(claim: str, found: Mapping[str, int]) -> str:
    """The claim with the tasks of which it holds (1), of which the opposite does (-1), and of which neither (0)."""
    better, worse, level = ([task for task, side in found.items() if side == one] for one in (1, -1, 0))
    parts = [
        f"{claim} on {len(better)} of {len(found)} tasks" + (f" ({', '.join(better)})" if better else ""),
        f"no difference at this scale on {', '.join(level)}" if level else "",
        f"worse on {', '.join(worse) or 'none'}",
    ]
    return "; ".join(part for part in parts if part)


def _sides(c: Mapping[str, Any], key: str) -> int:
    """On which side a difference of arms surely is."""
    return side(c, c["start"][key] if key in ("over_scratch", "gained") else c[key])


def _single(c: Mapping[str, Any]) -> bool:
    """Whether an arm has one seed, of which nothing is said, beside whatever it stands."""
    return min(len(own["seeds"]) for own in c["arms"].values()) < 2


def side(c: Mapping[str, Any], told: Mapping[str, float]) -> int:
    """1 where a difference is surely for the better, -1 where for the worse, else 0, as always with a single seed."""
    if _single(c):
        return 0
    found = _interval(told)
    up = int(found.above) - int(found.below)
    return up if c["higher"] else -up


def sentence(c: Mapping[str, Any]) -> str:
    """One task."""
    change, floor = _interval(c["difference"]), _interval(c["over_floor"])
    which = _sides(c, "difference")
    said = {1: "pre-training helps", -1: "pre-training harms", 0: "no difference at this scale"}[which]
    between = ""
    if c["start"] is not None:
        alone, gained = c["arms"][START]["value"], _interval(c["start"]["gained"])
        between = f", {alone:.3f} as it comes ({_points(gained)})"
    held = {1: "above", -1: "below", 0: "level with"}[side(c, c["over_floor"])]
    ours, scratch = (c["arms"][arm]["value"] for arm in (PRETRAINED, SCRATCH))
    return (
        f"{c['task']}: {said}, {c['metric']} {ours:.3f} against {scratch:.3f} from scratch ({_points(change)})"
        f"{between}; "
        f"{held} the best trivial method, {c['best_floor']} "
        f"{c['floors'][c['best_floor']]['value']:.3f} ({_points(floor)})."
    )


def _interval(told: Mapping[str, float]) -> Interval:
    return Interval(told["value"], told["low"], told["high"], told["level"])


def _points(i: Interval) -> str:
    if math.isnan(i.low):
        return f"{100 * i.value:+.1f} points, no interval is defined"
    return f"{100 * i.value:+.1f} points, 95 % interval {100 * i.low:+.1f} to {100 * i.high:+.1f}"
