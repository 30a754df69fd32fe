"""Intervals: equal to resampling by hand, pairing, groups, seeds, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap, t, ttest_ind

from didact.evaluation import intervals
from didact.evaluation.intervals import Interval, difference, draws, interval, over_seeds
from didact.randomness import generator
from didact.tasks import metrics

METRICS = {
    "accuracy": metrics.ACCURACY,
    "f1_macro": metrics.f1_macro(("0", "1", "2")),
    "pearson": metrics.PEARSON,
    "spearman": metrics.SPEARMAN,
}


def answers(name: str, seed: int, n: int = 80) -> tuple[list, list]:  # type: ignore[type-arg]
    rng = generator(seed, 0)
    if name in ("pearson", "spearman"):
        x = rng.normal(size=n).round(1)
        return list(x + rng.normal(size=n).round(1)), list(x)
    gold = rng.integers(3, size=n)
    return [str(v) for v in np.where(rng.random(n) < 0.6, gold, 0)], [str(v) for v in gold]


@pytest.mark.parametrize("name", METRICS)
def test_as_resampling_by_hand(name: str) -> None:
    """Each resample written out as a list of examples and scored on its own."""
    metric, (predicted, gold) = METRICS[name], answers(name, 1)
    units = metric.units(predicted, gold)
    by_hand = []
    for weights in draws(np.arange(80), 200, seed=5):
        for row in weights.astype(int):
            repeated = [[x for x, k in zip(side, row, strict=True) for _ in range(k)] for side in (predicted, gold)]
            by_hand.append(metric(*repeated))
    found = interval(metric, units, resamples=200, seed=5)
    assert found.value == pytest.approx(metric(predicted, gold))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))
    assert found == interval(metric, units, resamples=200, seed=5)
    assert found != interval(metric, units, resamples=200, seed=6)


def test_as_scipy_s() -> None:
    right = (generator(0, 0).random(400) < 0.7).astype(float)
    units = np.stack([right, np.ones(400)], 1)
    found = interval(metrics.ACCURACY, units, resamples=4000)
    oracle = bootstrap((right,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(0))
    assert found.low == pytest.approx(oracle.confidence_interval.low, abs=0.006)
    assert found.high == pytest.approx(oracle.confidence_interval.high, abs=0.006)


def test_weights_draw_as_many_groups_as_there_are() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    (weights,) = draws(groups, 500, seed=0)
    assert weights.shape == (500, 6)
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()
    np.testing.assert_array_equal(weights[:, 3], weights[:, 5])
    assert weights.mean(0) == pytest.approx(np.ones(6), abs=0.15)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    units = metrics.ACCURACY.units(*answers("accuracy", 3))
    found = interval(metrics.ACCURACY, units, resamples=100)
    monkeypatch.setattr(intervals, "_BLOCK", 700)
    assert interval(metrics.ACCURACY, units, resamples=100) == found


def test_groups_that_agree_widen_the_interval() -> None:
    units = np.repeat(metrics.ACCURACY.units(*answers("accuracy", 2, 50)), 8, axis=0)
    alone = interval(metrics.ACCURACY, units)
    together = interval(metrics.ACCURACY, units, [i // 8 for i in range(400)])
    assert together.high - together.low == pytest.approx(8**0.5 * (alone.high - alone.low), rel=0.15)


def test_a_paired_difference_is_narrower_than_its_sides() -> None:
    predicted, gold = answers("accuracy", 4, 300)
    other = [g if i % 20 == 0 else p for i, (p, g) in enumerate(zip(predicted, gold, strict=True))]
    ours, theirs = (metrics.ACCURACY.units(p, gold) for p in (other, predicted))
    found = difference(metrics.ACCURACY, ours, theirs)
    side = interval(metrics.ACCURACY, ours)
    assert found.value == pytest.approx(metrics.ACCURACY(other, gold) - metrics.ACCURACY(predicted, gold))
    assert found.high - found.low < 0.7 * (side.high - side.low)
    assert found.above
    assert not found.below
    nothing = difference(metrics.ACCURACY, ours, ours)
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.0)
    assert not nothing.above


def test_seeds_are_averaged_over_the_same_examples() -> None:
    _, gold = answers("accuracy", 5, 200)
    runs = [metrics.ACCURACY.units(answers("accuracy", 5 + s, 200)[0], gold) for s in range(3)]
    found = interval(metrics.ACCURACY, runs, seed=1)
    assert found.value == pytest.approx(np.mean([run[:, 0].mean() for run in runs]))
    mean = np.stack([np.mean([run[:, 0] for run in runs], axis=0), np.ones(200)], 1)
    again = interval(metrics.ACCURACY, mean, seed=1)
    assert (found.low, found.high) == pytest.approx((again.low, again.high))
    wider = interval(metrics.ACCURACY, runs, seed=1, new_seeds=True)
    assert wider.high - wider.low > found.high - found.low


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_where_seeds_alone_vary_it_is_students(seeds: int) -> None:
    """Where examples leave nothing to chance: of one recipe the t interval, of two Welch's, as scipy has them."""
    ours, theirs = generator(seeds, 0).random(seeds), generator(seeds, 1).random(5)
    a, b = ([np.tile([share, 1.0], (20, 1)) for share in own] for own in (ours, theirs))
    found, expected = interval(metrics.ACCURACY, a, new_seeds=True), over_seeds(list(ours))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    found = difference(metrics.ACCURACY, a, b, new_seeds=True, level=0.9)
    welch = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high))
    beside_one = difference(metrics.ACCURACY, a, b[:1], new_seeds=True)
    assert (beside_one.low, beside_one.high) == pytest.approx((expected.low - theirs[0], expected.high - theirs[0]))


def test_where_seeds_do_not_differ_it_is_the_examples() -> None:
    """However differently they answer them: equal scores, and a single seed of which nothing is known."""
    right = (generator(6, 0).random(100) < 0.7).astype(float)
    runs = [np.stack([np.roll(right, shift), np.ones(100)], 1) for shift in (0, 5, 9)]
    for own in (runs, runs[:1]):
        assert interval(metrics.ACCURACY, own, new_seeds=True) == interval(metrics.ACCURACY, own)
        args = (metrics.ACCURACY, own, runs[1:])
        assert difference(*args, new_seeds=True) == difference(*args)


def test_what_seeds_add_keeps_the_bootstraps_shape() -> None:
    """A score near 1 reaches further down than up, with seeds and without."""
    rng = generator(7, 0)
    runs = [np.stack([(rng.random(40) < share).astype(float), np.ones(40)], 1) for share in (0.93, 0.97, 0.95)]
    alone, found = (interval(metrics.ACCURACY, runs, new_seeds=seeds) for seeds in (False, True))
    assert found.low < alone.low < alone.value < alone.high < found.high
    assert alone.value - alone.low > alone.high - alone.value
    assert found.value - found.low > found.high - found.value


@pytest.mark.parametrize(
    ("seeds", "spread", "most"),
    [
        (2, 0.15, 16),  # seeds dominate: 38 are with the normal's quantile for Student's, 142 where no seed counts
        (3, 0.15, 12),  # 17 and 130
        (3, 0.03, 12),  # about as much chance in seeds as in examples: 17 where no seed counts
    ],
)
def test_equal_recipes_are_seldom_told_apart(seeds: int, spread: float, most: int) -> None:
    """About one time in twenty of 200. What is hard for one seed is hard for all, or chance in examples hides that of
    seeds.
    """
    told = 0
    for trial in range(200):
        rng = generator(trial, 7)
        means = 0.5 + spread * rng.standard_normal((2, seeds))
        hardness = rng.random((2, 400))
        sides = [
            [np.stack([(hard < mean).astype(float), np.ones(400)], 1) for mean in own]
            for own, hard in zip(means, hardness, strict=True)
        ]
        found = difference(metrics.ACCURACY, sides[0], sides[1], resamples=400, new_seeds=True)
        told += found.above or found.below
    assert 2 <= told <= most


def test_sides_may_have_different_numbers_of_seeds() -> None:
    _, gold = answers("accuracy", 5, 60)
    runs = [metrics.ACCURACY.units(answers("accuracy", s, 60)[0], gold) for s in range(5)]
    found = difference(metrics.ACCURACY, runs[:3], runs[3:])
    assert found.value == pytest.approx(
        np.mean([r[:, 0].mean() for r in runs[:3]]) - np.mean([r[:, 0].mean() for r in runs[3:]])
    )
    with pytest.raises(ValueError, match="same examples"):
        difference(metrics.ACCURACY, runs[0], runs[1][:10])


def test_it_covers() -> None:
    """Of 200 sets of 100 examples with accuracy 0.7, the 95 % interval misses the truth in about 5 %."""
    missed = 0
    for seed in range(200):
        right = (generator(seed, 8).random(100) < 0.7).astype(float)
        found = interval(metrics.ACCURACY, np.stack([right, np.ones(100)], 1), resamples=400, seed=seed)
        missed += not found.low <= 0.7 <= found.high
    assert 2 <= missed <= 22


def test_over_seeds() -> None:
    values = [0.81, 0.84, 0.80, 0.83]
    found = over_seeds(values)
    expected = t.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx(expected)
    assert math.isnan(over_seeds([0.5]).low)
    assert over_seeds([0.5]).value == 0.5


def test_what_is_undefined_is_not_a_number() -> None:
    empty = np.zeros((0, 2))
    assert math.isnan(interval(metrics.ACCURACY, empty).low)
    assert math.isnan(interval(metrics.ACCURACY, np.ones((3, 2)), resamples=0).low)
    none = interval(metrics.ACCURACY, np.zeros((5, 2)))  # a conditional score without any case
    assert math.isnan(none.value)
    assert not none.above


def test_one_group_alone_says_nothing_of_another() -> None:
    """All its resamples are alike, which is not to be sure."""
    good, bad = (np.stack([np.full(30, share), np.ones(30)], 1) for share in (0.9, 0.1))
    for found in (
        interval(metrics.ACCURACY, good, ["p"] * 30),
        difference(metrics.ACCURACY, bad, good, ["p"] * 30),
        difference(metrics.ACCURACY, [good, bad], [good, good], ["p"] * 30, new_seeds=True),
        difference(metrics.ACCURACY, bad[:1], good[:1]),
    ):
        assert not math.isnan(found.value)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert not found.above
        assert not found.below
    two = difference(metrics.ACCURACY, bad, good, ["p"] * 29 + ["q"])
    assert two.below


def test_shown() -> None:
    assert str(Interval(0.5, 0.25, 0.75)) == "0.5000 [0.2500, 0.7500]"
    assert Interval(0.5, 0.25, 0.75).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75, "level": 0.95}
