"""What runs cost, against every one of their steps measured."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from run_tools import pretraining
from training_tools import Chain, masked, step_of

from didact.data.stream import BySequences, ByTokens, Stream
from didact.errors import InputError
from didact.lab.flops import Cost, Course, flops_of
from didact.objectives import Combined, Objective, SentenceOrder
from didact.runs import runfile
from didact.runs.pretrain import pretrain
from didact.runs.schema import PretrainRun
from didact.training.flops import measured_flops, step_flops

BATCHES = {"sequences": BySequences(8), "tokens": ByTokens(192, window=20)}
RISING = masked(rate=((0, 0.05), (20, 0.6)))
STAIRS = ((10, 2), (11, 3), (30, 8))
SCHEDULED: dict[str, tuple[Objective, BySequences | ByTokens]] = {
    "stairs": (masked(), BySequences(24, STAIRS)),
    "a stair at the start": (masked(), BySequences(32, ((3, 1),))),
    "a rate": (RISING, BySequences(8)),
    "a rate that falls": (masked(rate=((5, 0.9), (60, 0.1))), BySequences(8)),
    "a rate without an end": (masked(rate=((0, 0.05), (10_000, 1.0))), BySequences(8)),
    "a rate on stairs": (RISING, BySequences(24, STAIRS)),
    "a rate among others": (Combined((RISING, SentenceOrder()), (1.0, 0.5)), BySequences(8)),
    "a rate in windows": (RISING, ByTokens(96, window=60)),
}


def course_of(objective: Objective, batch: BySequences | ByTokens) -> Course:
    """With a vocabulary of which every answer costs as much as twenty tokens do."""
    return Course(step_of(objective, layers=1, vocabulary=10_000), Stream(Chain(), objective, batch, 96))


def every_step(course: Course, steps: int) -> list[float]:
    """Operations of each of the first steps, as the loop comes to them, by the formula that runs report."""
    models = dict(course.step.models.items())
    return [step_flops(models, batches) for batches in itertools.islice(course.stream.look(), steps)]


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_steps_that_are_all_alike_cost_what_the_first_ones_do(batch: Any) -> None:
    """To the bit, so that grids that were begun go on with the steps that they had."""
    course = course_of(masked(), batch)
    measured = 0.0
    for batches in itertools.islice(course.stream.look(), 4):

        def once(batches: Sequence[Any] = batches) -> None:
            for one in batches:
                course.step(one).scaled(one.counts).backward()

        measured += measured_flops(once)
    one = measured / 4
    assert course.spent(2750) == Cost(2750, one * 2750)
    assert course.spent(2) == Cost(2, one * 2)
    for whole in (0.3 * one, 1.91 * one * 2750):
        assert course.spent(whole=whole).steps == max(1, round(whole / one))


@pytest.mark.parametrize(("objective", "batch"), SCHEDULED.values(), ids=SCHEDULED)
def test_schedules_cost_what_all_their_steps_do(objective: Objective, batch: Any) -> None:
    course = course_of(objective, batch)
    each = every_step(course, 70)
    for steps in (5, 25, 70):
        whole = sum(each[:steps])
        assert course.spent(steps).flops == pytest.approx(whole, rel=0.1)
        found = course.spent(whole=whole)
        assert found.steps == pytest.approx(steps, rel=0.1, abs=1)
        assert found.flops == pytest.approx(whole, rel=0.1, abs=0.6 * max(each[: steps + 1]))


def test_few_steps_are_measured_however_long_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    course, seen = course_of(masked(rate=((0, 0.05), (9_000, 0.9))), BySequences(2, ((3_000, 1),))), 0

    def cost(_self: Course, first: int, count: int = 1) -> float:
        nonlocal seen
        seen += count
        return (1.0 if first < 3_000 else 2.0) + first / 9_000

    monkeypatch.setattr(Course, "cost", cost)
    spent = course.spent(9_000)
    assert spent.flops == pytest.approx(3_000 * 1 + 6_000 * 2 + 4_500, rel=1e-3)
    assert course.spent(whole=spent.flops).steps == pytest.approx(9_000, rel=2e-3)
    assert seen < 100


def test_what_is_not_counted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("didact.lab.flops.step_flops", lambda _models, batches: 1e3 * len(batches))
    with pytest.raises(InputError, match=r"a step measures .* operations and counts 1000; expected the same to 5 %"):
        course_of(masked(), BySequences(2)).spent(10)


def test_a_run_reports_what_was_measured_of_it(world: Path, tmp_path: Path) -> None:
    """And one that was given so many operations takes them: of stairs and of a rate that rises."""
    plain = runfile.checked(PretrainRun, pretraining(world, tmp_path / "plain", budget={"steps": 30}))
    first = flops_of(plain)
    assert first.steps == 30
    changes: dict[str, dict[str, Any]] = {
        "stairs": {"batch": {"size": "16 sequences", "micro_tokens": 128, "warmup": [[10, 1], [20, 4]]}},
        "rate": {"objective": {"masked": {"rate": [[0, 0.05], [20, 0.6]]}, "sentence_order": {}}},
    }
    for name, change in changes.items():
        values = pretraining(world, tmp_path / name, **change, budget={"steps": 30})
        spent = flops_of(runfile.checked(PretrainRun, values), first.flops)
        assert spent.flops == pytest.approx(first.flops, rel=0.05)
        pretrain(runfile.checked(PretrainRun, values | {"budget": {"steps": spent.steps}}))
    pretrain(plain)
    for name in ("plain", *changes):
        reported = runfile.values_of(tmp_path / name / "result.json")["flops"]
        assert reported == pytest.approx(first.flops, rel=0.1), name
