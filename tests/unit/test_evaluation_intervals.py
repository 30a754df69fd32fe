"""Intervals: equal to resampling by hand, pairing, groups, seeds, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap, t

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
    wider = interval(metrics.ACCURACY, runs, seed=1, resample_seeds=True)
    assert wider.high - wider.low > found.high - found.low


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_vary_as_the_mean_of_them_does(seeds: int) -> None:
    """Where examples leave nothing to chance, resamples vary by s^2 / S, with s^2 the seeds' unbiased variance."""
    shares = generator(seeds, 0).random(seeds)
    runs = [np.tile([share, 1.0], (20, 1)) for share in shares]
    found = intervals._resampled(metrics.ACCURACY, runs, np.arange(20), 20_000, 0, True)
    assert found.var() == pytest.approx(shares.var(ddof=1) / seeds, rel=0.05)
    assert found.mean() == pytest.approx(shares.mean(), abs=0.01)


def test_equal_recipes_are_seldom_told_apart() -> None:
    """Three seeds a side, as much chance in seeds as in examples: not much oftener than one time in twenty."""
    told = 0
    for trial in range(200):
        rng = generator(trial, 7)
        n = 400
        means = 0.7 + 0.02 * rng.standard_normal((2, 3))
        sides = [[np.stack([(rng.random(n) < m).astype(float), np.ones(n)], 1) for m in own] for own in means]
        found = difference(metrics.ACCURACY, sides[0], sides[1], resamples=400, resample_seeds=True)
        told += found.above or found.below
    assert told <= 24


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


def test_shown() -> None:
    assert str(Interval(0.5, 0.25, 0.75)) == "0.5000 [0.2500, 0.7500]"
    assert Interval(0.5, 0.25, 0.75).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75, "level": 0.95}
