"""Carrying out a grid, with a runner that only pretends: what is run, skipped, resumed, chosen and reported."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from grid_tools import BASE, TUNE, Pretend, carried, grid

from didact.errors import InputError
from didact.lab.cells import PRETRAIN, Carried, Cell
from didact.lab.flops import Cost
from didact.runs.common import INPUTS, begin
from didact.runs.runfile import checked
from didact.runs.schema import PretrainRun


def test_every_cell_once_seed_by_seed(tmp_path: Path) -> None:
    runner = Pretend()
    done, _ = carried(grid(), tmp_path, runner)
    one_seed = ["low, seed {}, pretrain", "high, seed {}, pretrain"]
    one_seed += [f"{arm}, seed {{}}, topic" for arm in ("low", "high", "scratch")]
    assert runner.ran == [name.format(seed) for seed in (0, 1) for name in one_seed]
    assert not done.failures
    assert [cell.name for cell in done.cells] == runner.ran
    starts = {c.arm: c.run.start for c in done.cells if c.stage != PRETRAIN and c.seed == 1}  # type: ignore[union-attr]
    base = tmp_path / "cells"
    assert starts == {
        "low": str(base / "low/1/pretrain"),
        "high": str(base / "high/1/pretrain"),
        "scratch": str(base / "low/1/pretrain"),
    }


def test_all_pre_training_comes_first_where_cells_run_at_once(tmp_path: Path) -> None:
    """And the same runs come of it."""
    runner, other = Pretend(), Pretend()
    apart, _ = carried(grid(), tmp_path, runner)
    done, _ = carried(grid(), tmp_path, other, together=True)
    assert other.ran == []  # the same folders, and nothing in them has changed
    (again := Pretend()).ran.clear()
    done, _ = carried(grid(), tmp_path / "at once", again, together=True)
    assert sorted(again.ran) == sorted(runner.ran)
    stages = ["pretrain" in name for name in again.ran]
    assert stages == sorted(stages, reverse=True)
    alike = [sorted((c.arm, c.seed, c.stage) for c in one.cells) for one in (apart, done)]
    assert alike[0] == alike[1]


def test_what_is_pre_trained_once_is_where_every_seed_starts(tmp_path: Path) -> None:
    runner = Pretend()
    done, _ = carried(grid(pretrain_once=True), tmp_path, runner)
    assert [name for name in runner.ran if "pretrain" in name] == ["low, seed 0, pretrain", "high, seed 0, pretrain"]
    tuned = [cell for cell in done.cells if cell.stage != PRETRAIN]
    assert [(cell.arm, cell.seed) for cell in tuned] == [(a, s) for s in (0, 1) for a in ("low", "high", "scratch")]
    for cell in tuned:
        source = "high" if cell.arm == "high" else "low"
        assert cell.run.start == str(tmp_path / "cells" / source / "0" / "pretrain")  # type: ignore[union-attr]


def test_finished_cells_are_skipped(tmp_path: Path) -> None:
    carried(grid(), tmp_path, Pretend())
    (tmp_path / "cells/high/1/topic/result.json").unlink()
    (tmp_path / "cells/high/1/topic").rmdir()
    again = Pretend()
    done, _ = carried(grid(), tmp_path, again)
    assert again.ran == ["high, seed 1, topic"]
    assert len(done.cells) == 10


def test_a_failed_cell_loses_those_that_need_it_and_no_others(tmp_path: Path) -> None:
    runner = Pretend(fails=("high, seed 0, pretrain",))
    done, _ = carried(grid(), tmp_path, runner)
    assert [(f.name, f.code) for f in done.failures] == [("high, seed 0, pretrain", 3), ("high, seed 0, topic", 0)]
    assert "loss is not a number" in done.failures[0].reason
    assert len(done.cells) == 8


def test_fresh_weights_have_the_shape_of_one_arm_whatever_fails(tmp_path: Path) -> None:
    """The first that is pre-trained, for every seed: another's would be another architecture."""
    lost = "low, seed 1, pretrain"
    done, _ = carried(grid(), tmp_path, Pretend(fails=(lost,)))
    scratch = {c.seed: c.run.start for c in done.cells if c.arm == "scratch"}  # type: ignore[union-attr]
    assert scratch == dict.fromkeys((0, 1), str(tmp_path / "cells/low/0/pretrain"))
    again, _ = carried(grid(), tmp_path, runner := Pretend())
    assert runner.ran == [lost, "low, seed 1, topic"]
    assert not again.failures
    first = grid(seeds=[1, 0])
    done, _ = carried(first, tmp_path / "other", Pretend(fails=("low, seed 1, pretrain", "low, seed 0, pretrain")))
    assert {f.name for f in done.failures if f.code == 0} == {
        f"{arm}, seed {seed}, topic" for arm in ("low", "scratch") for seed in (0, 1)
    }


def test_learning_rates_are_tried_with_the_first_seed(tmp_path: Path) -> None:
    runner = Pretend()
    rates = {"pretrain": [5e-4, 1e-3, 2e-3], "by": "nll"}
    done, said = carried(grid(learning_rates=rates, finetune={}, arms={"a": {}}), tmp_path, runner)
    assert runner.ran == [f"a, seed 0, pretrain at {rate}" for rate in ("0.0005", "0.001", "0.002")] + [
        "a, seed 1, pretrain"
    ]
    assert done.rates == {"a": 1e-3}
    assert {c.seed: c.folder.name for c in done.cells} == {0: "0.001", 1: "pretrain"}
    assert all(c.run.optimizer.learning_rate == 1e-3 for c in done.cells)
    assert "a: learning rate 0.001 (best nll of 3 tried)" in said
    with pytest.raises(InputError, match="'loss' is no validation figure"):
        carried(grid(learning_rates=rates | {"by": "loss"}), tmp_path / "other", Pretend())


def test_a_rate_that_diverges_on_trial_is_not_taken_and_fails_nothing(tmp_path: Path) -> None:
    only = {"finetune": {}, "arms": {"a": {}, "b": {}}, "seeds": [0]}
    rates = {"pretrain": [1e-3, 5e-4], "by": "nll"}
    lost = "a, seed 0, pretrain at 0.001"
    runner = Pretend(fails=(lost,))
    done, said = carried(grid(learning_rates=rates, **only), tmp_path, runner)
    assert not done.failures
    assert done.rates == {"a": 5e-4, "b": 1e-3}
    assert math.isnan(done.tried["a"][1e-3])
    assert f"{lost}: diverged, not taken" in said
    assert "not a number" in (tmp_path / "cells/a/rates/0.001.diverged").read_text()
    again = Pretend()
    done, _ = carried(grid(learning_rates=rates, **only), tmp_path, again)
    assert again.ran == []
    assert done.rates == {"a": 5e-4, "b": 1e-3}


def test_no_rate_is_chosen_while_one_has_not_been_tried_to_its_end(tmp_path: Path) -> None:
    """Killed by accident, it may yet be the best: training at another would be mixed with it in the next start."""
    only = {"finetune": {}, "arms": {"a": {}, "b": {}}, "seeds": [0, 1]}
    rates = {"pretrain": [2e-3, 1e-3], "by": "nll", "share": 0.3}
    lost = "a, seed 0, pretrain at 0.001"
    done, said = carried(grid(learning_rates=rates, **only), tmp_path, Pretend(fails=(lost,), code=-9))
    assert [f.name for f in done.failures] == [lost]
    assert done.rates == {"b": 1e-3}
    assert {cell.arm for cell in done.cells} == {"b"}
    assert "a: no learning rate is chosen, since one has not been tried to its end" in said
    done, _ = carried(grid(learning_rates=rates, **only), tmp_path, again := Pretend())
    assert again.ran == [lost, "a, seed 0, pretrain", "a, seed 1, pretrain"]
    assert done.rates == {"a": 1e-3, "b": 1e-3}


def test_what_diverged_is_tried_again_with_other_settings(tmp_path: Path) -> None:
    only = {"finetune": {}, "arms": {"a": {}}, "seeds": [0]}
    rates = {"pretrain": [1e-3, 5e-4], "by": "nll"}
    lost = "a, seed 0, pretrain at 0.001"
    carried(grid(learning_rates=rates, **only), tmp_path, Pretend(fails=(lost,)))
    careful = BASE | {"hardware": {"precision": "fp32"}}
    done, _ = carried(grid(learning_rates=rates, pretrain=careful, **only), tmp_path, again := Pretend())
    assert again.ran == [lost]
    assert done.rates == {"a": 1e-3}


def test_figures_are_of_the_checkpoint_that_others_start_from(tmp_path: Path) -> None:
    lines = [{"step": step, "kind": "validation", "nll": nll} for step, nll in ((5, 1.5), (10, 2.5))]
    for best, nll in ((5, 1.5), (10, 2.5), (None, 2.5)):
        cell = Cell("a", 0, PRETRAIN, checked(PretrainRun, BASE | {"run": str(tmp_path / str(best))}))
        cell.folder.mkdir()
        (cell.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        result = {"steps": 10, "best_step": best, "validation": {"nll": 2.5}}
        (cell.folder / "result.json").write_text(json.dumps(result))
        assert cell.validated() == {"nll": nll}


def test_an_arm_whose_rates_all_diverge_has_failed(tmp_path: Path) -> None:
    only = {"finetune": {}, "arms": {"a": {}}, "seeds": [0]}
    both = tuple(f"a, seed 0, pretrain at {rate}" for rate in ("0.001", "0.0005"))
    rates = {"pretrain": [1e-3, 5e-4], "by": "nll"}
    done, _ = carried(grid(learning_rates=rates, **only), tmp_path, Pretend(fails=both))
    assert [f.name for f in done.failures] == list(both)
    assert not done.cells


def test_cells_that_never_began_can_be_put_right(tmp_path: Path) -> None:
    names = [f"{arm}, seed {seed}, {PRETRAIN}" for arm in ("low", "high") for seed in (0, 1)]
    carried(grid(), tmp_path, Pretend(fails=tuple(names)))
    again = Pretend()
    carried(grid(pretrain=BASE | {"batch": {"size": "7 sequences"}}), tmp_path, again)
    assert set(names) < set(again.ran)
    with pytest.raises(InputError, match="batch: this cell was run with"):
        carried(grid(), tmp_path, Pretend())


def test_an_arm_s_own_learning_rates_stand_in_place_of_the_grid_s(tmp_path: Path) -> None:
    runner = Pretend()
    arms = {"a": {}, "few": {"learning_rates": [5e-4, 1e-3]}, "one": {"learning_rates": [3e-3]}}
    rates = {"pretrain": [1e-3, 2e-3], "by": "nll", "share": 0.5}
    done, _ = carried(grid(learning_rates=rates, finetune={}, arms=arms, seeds=[0]), tmp_path, runner)
    tried = [("a", 0.001), ("a", 0.002), ("few", 0.0005), ("few", 0.001)]
    assert runner.ran[:4] == [f"{arm}, seed 0, pretrain at {rate}" for arm, rate in tried]
    assert done.rates == {"a": 1e-3, "few": 1e-3}
    assert {c.arm: c.run.optimizer.learning_rate for c in done.cells} == {"a": 1e-3, "few": 1e-3, "one": 3e-3}


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({"by": "mlm@15/accuracy"}, 1e-3),
        ({"by": "nll"}, 1e-3),
        ({"by": "mlm@15/accuracy", "smallest": True}, 2e-3),
        ({"by": "nll", "smallest": False}, 2e-3),
    ],
)
def test_the_best_is_the_largest_or_the_smallest_by_the_figure(
    tmp_path: Path, rates: dict[str, Any], chosen: float
) -> None:
    whole = grid(learning_rates={"pretrain": [1e-3, 2e-3], **rates}, arms={"a": {}}, seeds=[0])
    done, _ = carried(whole, tmp_path, Pretend())
    assert done.rates == {"a": chosen}


def test_a_rate_whose_figure_is_undefined_is_never_chosen(tmp_path: Path) -> None:
    """Pretend's figures are null above 1."""
    only = {"finetune": {}, "arms": {"a": {}}, "seeds": [0]}
    for smallest in (True, False):
        rates = {"pretrain": [3.0, 1e-3, 2.0], "by": "nll", "smallest": smallest}
        done, _ = carried(grid(learning_rates=rates, **only), tmp_path / str(smallest), Pretend())
        assert done.rates == {"a": 1e-3}
        assert math.isnan(done.tried["a"][3.0])
    rates = {"pretrain": [3.0, 2.0], "by": "nll"}
    done, said = carried(grid(learning_rates=rates, **only), tmp_path / "none", Pretend())
    assert done.rates == {"a": 3.0}
    assert "a: learning rate 3, the first: nll is undefined at all 2 tried" in said


def test_equal_flops_become_steps(tmp_path: Path) -> None:
    def flops(run: PretrainRun, whole: float | None) -> Cost:
        one = 100.0 if "high" not in str(run.run) else 150.0
        steps = run.budget.steps if whole is None else round(whole / one)
        assert steps is not None
        return Cost(steps, steps * one)

    done, said = carried(grid(budget={"equal": "flops", "steps": 30}), tmp_path, Pretend(), flops)
    assert done.steps == {"low": 30, "high": 20}
    assert said[:2] == ["low: 1e-07 GFLOP a step, 30 steps", "high: 1.5e-07 GFLOP a step, 20 steps"]
    turned, _ = carried(
        grid(budget={"equal": "flops", "steps": 30}, reference="high"), tmp_path / "b", Pretend(), flops
    )
    assert turned.steps == {"low": 45, "high": 30}
    steps = {c.arm: c.run.budget.steps for c in done.cells if isinstance(c.run, PretrainRun)}
    assert steps == done.steps


def test_a_folder_of_another_grid_is_refused(tmp_path: Path) -> None:
    carried(grid(), tmp_path, Pretend())
    with pytest.raises(InputError, match="budget: this cell was run with"):
        carried(grid(budget={"equal": "steps", "steps": 11}), tmp_path, Pretend())


def test_a_finished_cell_keeps_what_it_was_started_from(tmp_path: Path) -> None:
    """Another rate is the better one: what was fine-tuned from the first is not passed off as made of the second."""
    rates = {"pretrain": [3e-3, 2e-3], "by": "nll"}
    once: dict[str, Any] = {"arms": {"a": {}}, "pretrain_once": True}
    carried(grid(learning_rates=rates, **once), tmp_path, Pretend())
    file = tmp_path / "cells/a/1/topic.yaml"
    before = file.read_text()
    said = (
        r"topic\.yaml: start: this cell was started from cells/a/rates/0\.002, it would now be from "
        r"cells/a/rates/0\.001; expected another --out, or that cell's folder removed"
    )
    with pytest.raises(InputError, match=said):
        carried(grid(learning_rates=rates | {"pretrain": [3e-3, 2e-3, 1e-3]}, **once), tmp_path, Pretend())
    assert file.read_text() == before


def test_fresh_weights_keep_the_shape_that_they_took(tmp_path: Path) -> None:
    arms = {"high": {"pretrain": {"model.layers": 3}}, "low": {}, "scratch": {"pretrain": False}}
    carried(grid(arms=arms), tmp_path, Pretend())
    swapped = {"low": {}, "high": {"pretrain": {"model.layers": 3}}, "scratch": {"pretrain": False}}
    with pytest.raises(InputError, match="was started from cells/high, it would now be from cells/low"):
        carried(grid(arms=swapped), tmp_path, Pretend())


def test_a_name_is_no_place_in_the_folder_that_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a grid that is carried out where one stands, and begins from what came with didact."""
    monkeypatch.chdir(tmp_path)
    arms = {"small": {"finetune": {"start": "small"}}, "scratch": {"finetune": {"start": "small", "scratch": True}}}
    for _ in range(2):
        done, _ = carried(grid(pretrain=None, arms=arms), Path(), Pretend())
        assert len(done.cells) == 4


def note_inputs(done: Carried, folder: Path) -> None:
    """What a real run writes when it begins: of what it reads."""
    for number, cell in enumerate(done.cells):
        aside = folder / f"begun-{number}"
        begin(cell.run.model_copy(update={"run": aside}), cell.run.inputs)
        if (aside / INPUTS).is_file():
            shutil.copy(aside / INPUTS, cell.folder)


def test_a_finished_cell_is_of_the_data_that_it_was_begun_with(tmp_path: Path) -> None:
    """Labels put right between two starts: what was trained on the wrong ones is not averaged with the rest."""
    file = tmp_path / "train.tsv"
    file.write_text("one\n")
    given = {"finetune": {"topic": TUNE | {"data": {"train": str(file)}}}}
    done, _ = carried(grid(**given), tmp_path / "out", Pretend())
    note_inputs(done, tmp_path)
    carried(grid(**given), tmp_path / "out", runner := Pretend())
    assert runner.ran == []
    file.write_text("two\n")
    with pytest.raises(InputError, match=r"train\.tsv: not what this run .* was begun with"):
        carried(grid(**given), tmp_path / "out", Pretend())


def test_a_finished_cell_is_of_the_weights_that_it_started_from(tmp_path: Path) -> None:
    done, _ = carried(grid(), tmp_path, Pretend())
    for cell in done.cells:
        if cell.stage == PRETRAIN:
            (cell.folder / "last").mkdir()
            (cell.folder / "last" / "config.json").write_text("{}")
            (cell.folder / "last" / "model.safetensors").write_bytes(b"weights")
    note_inputs(done, tmp_path)
    shutil.rmtree(tmp_path / "cells/low/0/pretrain")
    with pytest.raises(InputError, match=r"low/0/pretrain: not what this run .*low/0/topic\) was begun with"):
        carried(grid(), tmp_path, Again())


class Again(Pretend):
    """One whose weights are other ones."""

    @staticmethod
    def one(cell: Cell) -> None:
        Pretend.one(cell)
        (cell.folder / "last").mkdir()
        (cell.folder / "last" / "config.json").write_text("{}")
        (cell.folder / "last" / "model.safetensors").write_bytes(b"others")


def test_a_finished_grid_may_be_moved(tmp_path: Path) -> None:
    """And the files of its cells stay as they were."""
    carried(grid(), tmp_path / "here", Pretend())
    (tmp_path / "here").rename(tmp_path / "there")
    files = {file: file.read_text() for file in tmp_path.rglob("*.yaml")}
    done, _ = carried(grid(), tmp_path / "there", again := Pretend())
    assert (again.ran, len(done.cells)) == ([], 10)
    assert {file: file.read_text() for file in tmp_path.rglob("*.yaml")} == files


def test_a_start_outside_the_grid_is_compared_as_it_is(tmp_path: Path) -> None:
    alone: dict[str, Any] = {"pretrain": None, "arms": {"a": {}}}
    carried(grid(**alone), tmp_path, Pretend())
    other = {"topic": TUNE | {"start": "other"}}
    with pytest.raises(InputError, match="started from unused, it would now be from other"):
        carried(grid(finetune=other, **alone), tmp_path, Pretend())


def test_shorter_trials_choose_and_are_not_the_first_seeds_run(tmp_path: Path) -> None:
    runner = Pretend()
    rates = {"pretrain": [5e-4, 1e-3], "by": "nll", "share": 0.3}
    done, _ = carried(grid(learning_rates=rates), tmp_path, runner)
    assert done.rates == {"low": 1e-3, "high": 1e-3}
    assert runner.ran[:2] == ["low, seed 0, pretrain at 0.0005", "low, seed 0, pretrain at 0.001"]
    assert "low, seed 0, pretrain" in runner.ran
    steps = {
        cell: json.loads((tmp_path / "cells" / cell / "result.json").read_text())["steps"]
        for cell in ("low/rates/0.001", "low/0/pretrain", "low/1/pretrain")
    }
    assert list(steps.values()) == [3, 10, 10]
