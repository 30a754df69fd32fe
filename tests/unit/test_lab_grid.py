"""Grids: what a file may say, and the run files that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from didact.errors import InputError
from didact.lab import grid as grids
from didact.lab.grid import Grid, changed, read

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "grids"
PRETRAIN: dict[str, Any] = {
    "run": "unused",
    "model": {"layers": 2},
    "data": {"train": "stores/x", "length": 32},
    "objective": {"masked": {"rate": 0.15}},
    "budget": {"steps": 10},
    "batch": {"size": "8 sequences"},
}
FINETUNE: dict[str, Any] = {
    "run": "unused",
    "start": "unused",
    "task": {"classify": {}},
    "data": {"train": "a.tsv"},
    "budget": {"epochs": 1},
}


def grid(**changes: Any) -> dict[str, Any]:
    values = {
        "grid": "trial",
        "pretrain": PRETRAIN,
        "finetune": {"topic": FINETUNE},
        "arms": {"low": {}, "high": {"pretrain": {"objective.masked.rate": 0.4}}, "scratch": {"pretrain": False}},
    }
    return values | changes


def written(tmp_path: Path, values: dict[str, Any]) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_an_arm_is_the_base_with_its_changes(tmp_path: Path) -> None:
    g = read(written(tmp_path, grid()))
    low = grids.pretrain_run(g, "low", 1, tmp_path / "a")
    high = grids.pretrain_run(g, "high", 1, tmp_path / "a")
    assert (low.objective["masked"]["rate"], high.objective["masked"]["rate"]) == (0.15, 0.4)
    assert low.model_copy(update={"objective": high.objective}) == high
    assert (low.seed, low.run, low.budget.steps, low.batch.size) == (1, tmp_path / "a", 10, (8, "sequences"))


def test_a_fine_tuning_starts_from_its_arm(tmp_path: Path) -> None:
    g = read(written(tmp_path, grid(learning_rates={"finetune": [1e-4, 3e-4]})))
    warm = grids.finetune_run(g, "low", "topic", 2, tmp_path / "f", "weights")
    cold = grids.finetune_run(g, "scratch", "topic", 2, tmp_path / "f", "weights")
    assert (warm.start, warm.scratch, warm.seeds, warm.learning_rates) == ("weights", False, (2,), (1e-4, 3e-4))
    assert (cold.start, cold.scratch) == ("weights", True)
    assert [grids.pretrained(g, arm) for arm in g.arms] == [True, True, False]


def test_base_runs_may_be_files_beside_the_grid(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(PRETRAIN))
    g = read(written(tmp_path, grid(pretrain="base.yaml")))
    assert g.pretrain == PRETRAIN


def test_arms_are_tested_all_or_none(tmp_path: Path) -> None:
    """One without a test file would be in no row of the report."""
    tested = FINETUNE | {"data": {"train": "a.tsv", "test": "t.tsv"}}
    arms = {"low": {}, "high": {"finetune": {"data.test": None}}}
    said = r"arms\.high: topic has no test file, that of low has one; expected data\.test for every arm, or for none"
    with pytest.raises(InputError, match=said):
        read(written(tmp_path, grid(finetune={"topic": tested}, arms=arms)))


@pytest.mark.parametrize(
    ("budget", "steps", "tokens"),
    [({"equal": "steps", "steps": 7}, 7, None), ({"equal": "tokens", "tokens": 5000}, None, 5000)],
)
def test_the_budget_of_the_grid_replaces_the_runs(tmp_path: Path, budget: Any, steps: Any, tokens: Any) -> None:
    run = grids.pretrain_run(read(written(tmp_path, grid(budget=budget))), "low", 0, tmp_path)
    assert (run.budget.steps, run.budget.tokens) == (steps, tokens)


def test_changes_replace_whole_values_and_touch_no_base() -> None:
    base = {"a": {"b": {"c": 1}}}
    assert changed(base, {"a.b": {"d": 2}, "e.f": [3]}, "arm") == {"a": {"b": {"d": 2}}, "e": {"f": [3]}}
    assert base == {"a": {"b": {"c": 1}}}
    with pytest.raises(InputError, match=r"arm\.a\.b\.c\.x: c is 1, it has no keys"):
        changed(base, {"a.b.c.x": 1}, "arm")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arm": {}}, "unknown key"),
        ({"reference": "none"}, "reference: one of the arms"),
        ({"seeds": [0, 0]}, "seeds that differ"),
        ({"arms": {}}, "arms"),
        ({"arms": {"a/b": {}}}, "names that can be folders"),
        ({"pretrain": None, "finetune": {}}, "something to run"),
        ({"finetune": {}}, "`finetune` runs for the arms that are not pre-trained"),
        ({"finetune": {"pretrain": FINETUNE}}, "names that can be folders"),
        ({"arms": {"a": {"pretrain": False}}}, "at least one arm that is pre-trained"),
        ({"budget": {"equal": "tokens", "steps": 3}}, "equal: tokens with `tokens`"),
        ({"reference": "scratch", "budget": {"equal": "flops", "steps": 3}}, "its FLOPs are the budget"),
        ({"learning_rates": {"pretrain": [1e-3, 1e-4]}}, "the validation figure that chooses"),
        ({"pretrain": None, "arms": {"a": {}}, "learning_rates": {"pretrain": [1e-3]}}, "tried while pre-training"),
        ({"arms": {"a": {"learning_rates": [1e-3, 1e-4]}}}, "the validation figure that chooses"),
        ({"arms": {"a": {}, "b": {"pretrain": False, "learning_rates": [1e-3]}}}, "arms.b.learning_rates only where"),
        ({"floors": {"other": {"accuracy": 0.5}}}, "floors of the tasks topic"),
        ({"arms": {"a": {"pretrain": {"model.layer": "x", "bath": 1}}}}, "arms.a.pretrain.bath: unknown key"),
        ({"arms": {"a": {"finetune": {"length": 1}}}}, r"arms.a.finetune \(topic\).length: found 1"),
        ({"pretrain": "absent.yaml"}, "absent.yaml: no such run file"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(written(tmp_path, grid(**change)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pretrain": {"seed": 3}}, r"arms\.a\.pretrain\.seed: the grid decides this, by its `seeds`"),
        ({"pretrain": {"run": "x"}}, r"arms\.a\.pretrain\.run: .*, by --out"),
        ({"pretrain": {"budget": {"steps": 3}}}, r"arms\.a\.pretrain\.budget: .* `budget`"),
        ({"pretrain": {"budget.steps": 3}}, r"arms\.a\.pretrain\.budget: .* `budget`"),
        ({"pretrain": {"optimizer.learning_rate": 0.1}}, "optimizer.learning_rate: .* `learning_rates.pretrain`"),
        ({"pretrain": {"optimizer": {"learning_rate": 0.1}}}, "optimizer.learning_rate: .* `learning_rates.pretrain`"),
        ({"pretrain": {"optimizer.learning_rate": 0.1}, "learning_rates": [0.2]}, "or the arm's `learning_rates`"),
        ({"finetune": {"seeds": [3]}}, r"arms\.a\.finetune\.seeds: .* `seeds`"),
        ({"finetune": {"start": "x"}}, r"arms\.a\.finetune\.start: .*pre-training leaves behind"),
        ({"finetune": {"learning_rates": [0.1]}}, "finetune.learning_rates: .* `learning_rates.finetune`"),
        ({"finetune": {"optimizer.learning_rate": 0.1}}, "finetune.optimizer.learning_rate: "),
    ],
)
def test_what_the_grid_decides_an_arm_cannot_change(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    rates = {"pretrain": [1e-3], "finetune": [1e-4]}
    decided = grid(budget={"equal": "steps", "steps": 7}, learning_rates=rates)
    with pytest.raises(InputError, match=said):
        read(written(tmp_path, decided | {"arms": {"a": change}}))


@pytest.mark.parametrize(
    ("arm", "whole"),
    [
        ({"pretrain": {"budget.steps": 3, "optimizer.learning_rate": 0.1}}, {}),
        ({"pretrain": {"optimizer": {"clip": 0.5}}}, {"learning_rates": {"pretrain": [1e-3]}}),
        ({"finetune": {"learning_rates": [0.1]}}, {}),
        ({"finetune": {"start": "other"}}, {"pretrain": None}),
    ],
)
def test_what_the_grid_leaves_open_an_arm_may_change(tmp_path: Path, arm: dict[str, Any], whole: Any) -> None:
    assert read(written(tmp_path, grid(arms={"a": arm}) | whole)).arms.keys() == {"a"}


@pytest.mark.parametrize(
    ("whole", "where"),
    [
        ({"pretrain": PRETRAIN | {"until": 200}}, r"pretrain\.until"),
        ({"arms": {"a": {}, "b": {"pretrain": {"until": 200}}}}, r"arms\.b\.pretrain\.until"),
        (
            {"pretrain": PRETRAIN | {"until": 3}, "arms": {"b": {"pretrain": {"until": 200}}}},
            r"arms\.b\.pretrain\.until",
        ),
    ],
)
def test_a_run_that_would_be_left_is_refused(tmp_path: Path, whole: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError, match=rf"^\S*grid\.yaml: {where}: a run left after step 200 has no result.*$"):
        read(written(tmp_path, grid(**whole)))


def test_an_arm_may_take_back_where_its_base_is_left(tmp_path: Path) -> None:
    whole = grid(
        pretrain=PRETRAIN | {"until": 200}, arms={"a": {"pretrain": {"until": None}}, "b": {"pretrain": False}}
    )
    assert grids.pretrain_run(read(written(tmp_path, whole)), "a", 0, tmp_path).until is None


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_reads(recipe: Path) -> None:
    read(recipe)


@pytest.mark.parametrize(
    ("budget", "part"),
    [
        ({"steps": 11}, {"steps": 3}),
        ({"steps": 1}, {"steps": 1}),
        ({"tokens": 1000}, {"tokens": 300}),
        ({"epochs": 1.5}, {"epochs": 0.45}),
        ({"minutes": 0.5}, {"minutes": 0.15}),
    ],
)
def test_a_share_of_a_budget(tmp_path: Path, budget: dict[str, Any], part: dict[str, Any]) -> None:
    g = read(written(tmp_path, grid(pretrain=PRETRAIN | {"budget": budget})))
    run = grids.pretrain_run(g, "low", 0, tmp_path, share=0.3)
    assert run.budget.model_dump(exclude_none=True) == pytest.approx(part)


def test_a_grid_repeats_itself(tmp_path: Path) -> None:
    g = read(written(tmp_path, grid()))
    again = read(written(tmp_path, g.model_dump(mode="json")))
    assert again == g
    assert isinstance(again, Grid)
