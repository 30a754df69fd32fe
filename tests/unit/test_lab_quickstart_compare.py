"""The comparison: values, pairing and verdicts against what is worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from didact.lab.quickstart import compare as comparing
from didact.lab.quickstart import plan as plans

N = 200  # test records, of 20 modules


def folder(out: Path, right: dict[str, list[float]]) -> plans.Plan:
    """A finished folder with one task; right: of each arm, the share of right answers of each seed."""
    plan = {
        "start": "small" if "start" in right else None,
        "pretrain": {"budget": {"steps": 3}},
        "finetune": {"length": 32, "seeds": [0, 1, 2]},
        "tasks": {"topic": {"task": {"classify": {}}}},
    }
    out.mkdir(exist_ok=True)
    (out / "plan.yaml").write_text(yaml.safe_dump(plan))
    (out / "tasks" / "topic").mkdir(parents=True)
    # what decides is in the text, so a linear model finds it; "b" is the commoner label of both files
    records = [
        {
            "id": f"m{i % 40}:f{i}",
            "group": f"m{i % 20}",
            "text": f"it is {'red' if i % 4 == 0 else 'blue'} {i}",
            "label": "ab"[i % 4 > 0],
        }
        for i in range(N)
    ]
    for split in ("train", "dev", "test"):
        text = "".join(json.dumps(record) + "\n" for record in records)
        (out / "tasks" / "topic" / f"{split}.jsonl").write_text(text)
    for arm in right:
        seeds: dict[str, Any] = {}
        for seed, share in enumerate(right[arm]):
            place = out / "finetune" / f"topic-{arm}" / f"seed-{seed}"
            place.mkdir(parents=True)
            units = [[float((i * 7 + seed) % N < round(share * N)), 1.0] for i in range(N)]
            lines = [json.dumps({"id": r["id"], "units": u}) for r, u in zip(records, units, strict=True)]
            (place / "predictions-test.jsonl").write_text("\n".join(lines) + "\n")
            seeds[str(seed)] = {"test": {"accuracy": share}, "steps": 5, "tokens": 10, "seconds": 2.0}
        result = {"learning_rate": 1e-3, "learning_rates": {"0.001": 0.5}, "seeds": seeds}
        (out / "finetune" / f"topic-{arm}" / "result.json").write_text(json.dumps(result))
    return plans.read(out / "plan.yaml")


@pytest.fixture
def compared(tmp_path: Path) -> dict[str, Any]:
    plan = folder(tmp_path, {"pretrained": [0.8, 0.85, 0.9], "scratch": [0.5, 0.55, 0.6]})
    comparing.floors(tmp_path)
    (found,) = comparing.compare(plan, tmp_path)
    return found


def test_values_are_means_over_seeds_and_differences_theirs(compared: dict[str, Any]) -> None:
    assert compared["arms"]["pretrained"]["value"] == pytest.approx(0.85)
    assert compared["arms"]["scratch"]["value"] == pytest.approx(0.55)
    assert compared["difference"]["value"] == pytest.approx(0.30)
    assert compared["difference"]["low"] > 0
    assert compared["over_floor"]["value"] == pytest.approx(0.85 - 1.0)
    assert (compared["test"], compared["train"], compared["groups"]) == (N, N, 20)
    assert compared["start"] is None
    assert [own["tokens"] for own in compared["arms"].values()] == [30, 30]
    assert [own["seconds"] for own in compared["arms"].values()] == [6.0, 6.0]


def test_floors_are_those_of_the_task(compared: dict[str, Any]) -> None:
    assert compared["floors"]["majority"]["value"] == pytest.approx(0.75)
    assert compared["floors"]["TF-IDF + linear"]["value"] == 1.0
    assert compared["best_floor"] == "TF-IDF + linear"


def test_equal_arms_differ_by_nothing(tmp_path: Path) -> None:
    plan = folder(tmp_path, {"pretrained": [0.7, 0.7, 0.7], "scratch": [0.7, 0.7, 0.7]})
    comparing.floors(tmp_path)
    (found,) = comparing.compare(plan, tmp_path)
    assert found["difference"]["value"] == 0.0
    assert found["difference"]["low"] <= 0.0 <= found["difference"]["high"]
    assert "no difference at this scale" in comparing.sentence(found)


def test_what_pretraining_went_on_from(tmp_path: Path) -> None:
    plan = folder(tmp_path, {"pretrained": [0.8, 0.85, 0.9], "start": [0.7] * 3, "scratch": [0.5, 0.55, 0.6]})
    comparing.floors(tmp_path)
    (found,) = comparing.compare(plan, tmp_path)
    assert list(found["arms"]) == ["pretrained", "start", "scratch"]
    assert found["difference"]["value"] == pytest.approx(0.30)
    assert found["start"]["over_scratch"]["value"] == pytest.approx(0.15)
    assert found["start"]["gained"]["value"] == pytest.approx(0.15)
    said = comparing.verdicts([found])
    assert said[2] == "As it comes, the start beats scratch on 1 of 1 tasks (topic); worse on none."
    assert said[3].startswith("Going on with pre-training on this corpus beats the start as it comes on 1 of 1 tasks")


def interval(low: float, high: float) -> dict[str, float]:
    return {"value": (low + high) / 2, "low": low, "high": high, "level": 0.95}


def told(task: str, difference: dict[str, float], over: dict[str, float], **other: Any) -> dict[str, Any]:
    arm = interval(0.5, 0.6) | {"seeds": [0.5, 0.6]}
    return {
        "task": task, "metric": "accuracy", "arms": {"pretrained": arm, "scratch": arm}, "difference": difference,
        "over_floor": over, "over_floors": {"majority": over}, "best_floor": "majority", "floors": {"majority": arm},
        "start": None, "higher": True,
    } | other  # fmt: skip


def test_the_verdict_falls_either_way() -> None:
    up, level, down = interval(0.01, 0.05), interval(-0.01, 0.02), interval(-0.05, -0.01)
    first, once, *each = comparing.verdicts([told("a", up, up), told("b", level, down), told("c", down, level)])
    assert first == (
        "Pre-training beats the same model from scratch on 1 of 3 tasks (a); no difference at this scale on b; "
        "worse on c; above every trivial method on a, below one on b."
    )
    assert once.startswith("Pre-training was run once")
    assert [line.split(",")[0] for line in each] == [
        "a: pre-training helps", "b: no difference at this scale", "c: pre-training harms",
    ]  # fmt: skip
    assert "above the best trivial method" in each[0]
    assert "below the best trivial method" in each[1]
    assert "level with the best trivial method" in each[2]
    assert "(+3.0 points, 95 % interval +1.0 to +5.0)" in each[0]


def test_less_may_be_better() -> None:
    """Errors: what lies below is ahead."""
    up, down = interval(0.01, 0.05), interval(-0.05, -0.01)
    first, _, a, b = comparing.verdicts([told("a", down, down, higher=False), told("b", up, up, higher=False)])
    assert "on 1 of 2 tasks (a); worse on b; above every trivial method on a, below one on b." in first
    assert "a: pre-training helps" in a
    assert "above the best trivial method" in a
    assert "b: pre-training harms" in b


def test_above_every_method_is_above_each() -> None:
    """The best by its mean may be the surer to be beaten."""
    both = {"steady": interval(0.02, 0.05), "wild": interval(-0.02, 0.1)}
    first = comparing.verdicts([told("a", both["steady"], both["steady"], over_floors=both)])[0]
    assert first.endswith("above every trivial method on none.")


def test_one_seed_says_nothing() -> None:
    arm = interval(0.5, 0.6) | {"seeds": [0.5]}
    up = interval(0.01, 0.05)
    first, _, single, each = comparing.verdicts([told("a", up, up, arms={"pretrained": arm, "scratch": arm})])
    assert first.startswith("Pre-training beats the same model from scratch on 0 of 1 tasks; no difference")
    assert single == "One seed a side says nothing of another: no verdict on a."
    assert "no difference at this scale" in each


@pytest.mark.parametrize("floor", [interval(0.01, 0.05), interval(-0.05, -0.01)])
def test_one_seed_says_nothing_of_trivial_methods_either(floor: dict[str, float]) -> None:
    arm = interval(0.5, 0.6) | {"seeds": [0.5]}
    arms = {"pretrained": arm | {"seeds": [0.5, 0.6]}, "scratch": arm}
    first, _, single, each = comparing.verdicts([told("a", floor, floor, arms=arms)])
    assert first.endswith("above every trivial method on none.")
    assert single.endswith("no verdict on a.")
    assert "level with the best trivial method" in each


def test_without_an_interval_nothing_is_said() -> None:
    """Of a test of one subtree."""
    none = interval(math.nan, math.nan) | {"value": 0.03}
    first, _, each = comparing.verdicts([told("a", none, none)])
    assert "on 0 of 1 tasks; no difference at this scale on a" in first
    assert first.endswith("above every trivial method on none.")
    assert "(+3.0 points, no interval is defined)" in each
    assert "nan" not in each


def test_a_test_file_that_is_cut(tmp_path: Path) -> None:
    """As fine-tuning cut it."""
    plan = folder(tmp_path, {"pretrained": [0.8, 0.9], "scratch": [0.5, 0.6]})
    values = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    values["finetune"]["data"] = {"limit": 150}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
    for file in tmp_path.rglob("predictions-test.jsonl"):
        file.write_text("".join(f"{line}\n" for line in file.read_text().splitlines()[:150]))
    comparing.floors(tmp_path)
    (found,) = comparing.compare(plans.read(tmp_path / "plan.yaml"), tmp_path)
    assert found["test"] == 150
    assert plan != plans.read(tmp_path / "plan.yaml")


def test_an_interval_that_touches_zero_is_no_difference() -> None:
    assert "no difference" in comparing.sentence(told("a", interval(0.0, 0.1), interval(0.0, 0.1)))


def test_subtrees_are_drawn_together(tmp_path: Path) -> None:
    """All of a subtree right or all wrong: the interval is that of 20 things, not of 200."""
    plan = folder(tmp_path, {"pretrained": [0.7], "scratch": [0.7]})
    right = [[float(i % 20 < 10), 1.0] for i in range(N)]
    file = tmp_path / "finetune" / "topic-pretrained" / "seed-0" / "predictions-test.jsonl"
    file.write_text("\n".join(json.dumps({"units": u}) for u in right) + "\n")
    comparing.floors(tmp_path)
    (found,) = comparing.compare(plan, tmp_path)
    width = found["arms"]["pretrained"]["high"] - found["arms"]["pretrained"]["low"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 20), rel=0.2)
