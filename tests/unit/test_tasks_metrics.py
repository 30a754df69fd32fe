"""Scores against scikit-learn and scipy, on the whole set and on resamples of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from didact.randomness import generator
from didact.tasks import metrics
from didact.tasks.metrics import Metric

NAMES = ("a", "b", "c", "d")


def labels(seed: int, n: int = 60, classes: int = 4) -> tuple[list[str], list[str]]:
    rng = generator(seed, 0)
    gold = rng.integers(classes, size=n)
    predicted = np.where(rng.random(n) < 0.5, gold, rng.integers(classes, size=n))
    return [NAMES[i] for i in predicted], [NAMES[i] for i in gold]


def sets(seed: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    rng = generator(seed, 1)
    draw = lambda: [tuple(np.array(NAMES)[rng.random(4) < 0.4].tolist()) for _ in range(40)]  # noqa: E731
    return draw(), draw()


def binary(answers: list[tuple[str, ...]]) -> np.ndarray:
    return np.array([[name in answer for name in NAMES] for answer in answers], int)


SINGLE = {
    "accuracy": (metrics.ACCURACY, lambda p, g: sk.accuracy_score(g, p)),
    "f1": (metrics.f1_binary(NAMES, "b"), lambda p, g: sk.f1_score(g, p, labels=["b"], average="macro")),
    "f1_macro": (metrics.f1_macro(NAMES), lambda p, g: sk.f1_score(g, p, average="macro")),
    "f1_micro": (metrics.f1_micro(NAMES), lambda p, g: sk.f1_score(g, p, average="micro")),
    "matthews": (metrics.matthews(NAMES), lambda p, g: sk.matthews_corrcoef(g, p)),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", SINGLE)
def test_single_labels(name: str, seed: int) -> None:
    metric, oracle = SINGLE[name]
    predicted, gold = labels(seed)
    assert metric(predicted, gold) == pytest.approx(oracle(predicted, gold), abs=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_several_labels(average: str) -> None:
    predicted, gold = sets(3)
    metric = {"macro": metrics.f1_macro, "micro": metrics.f1_micro}[average](NAMES)
    oracle = sk.f1_score(binary(gold), binary(predicted), average=average, zero_division=0)
    assert metric(predicted, gold) == pytest.approx(oracle, abs=1e-12)


def test_a_class_that_never_occurs_does_not_count() -> None:
    predicted, gold = labels(4, classes=2)
    assert metrics.f1_macro(NAMES)(predicted, gold) == pytest.approx(sk.f1_score(gold, predicted, average="macro"))


@pytest.mark.parametrize("ties", [True, False])
def test_correlations(ties: bool) -> None:
    rng = generator(5, 0)
    x = rng.normal(size=50) + 100.0
    y = x + rng.normal(size=50)
    if ties:
        x, y = x.round(), y.round()
    assert metrics.PEARSON(x, y) == pytest.approx(pearsonr(x, y)[0], abs=1e-12)
    assert metrics.SPEARMAN(x, y) == pytest.approx(spearmanr(x, y)[0], abs=1e-12)
    assert metrics.SQUARED_ERROR(x, y) == pytest.approx(sk.mean_squared_error(y, x))


def test_a_constant_correlates_with_nothing() -> None:
    assert metrics.PEARSON([0.1] * 7, range(7)) == 0.0
    assert metrics.SPEARMAN([0.1] * 7, range(7)) == 0.0


def all_metrics() -> dict[str, tuple[Metric, list, list]]:
    words, numbers = labels(6), generator(6, 2).normal(size=(2, 60)).round(1)
    found = {name: (metric, *words) for name, (metric, _) in SINGLE.items()}
    for metric in (metrics.PEARSON, metrics.SPEARMAN, metrics.SQUARED_ERROR):
        found[metric.name] = (metric, list(numbers[0]), list(numbers[1]))
    return found


@pytest.mark.parametrize("name", all_metrics())
def test_a_weight_is_a_repetition(name: str) -> None:
    """The score under weights equals the score of the examples so repeated: what the bootstrap relies on."""
    metric, predicted, gold = all_metrics()[name]
    times = generator(7, 0).integers(4, size=(5, len(gold)))
    weighted = metric.over(metric.units(predicted, gold), times.astype(float))
    for row, value in zip(times, weighted, strict=True):
        repeated = [[x for x, k in zip(side, row, strict=True) for _ in range(k)] for side in (predicted, gold)]
        assert metric(*repeated) == pytest.approx(value, abs=1e-12)


def test_no_examples_have_no_score() -> None:
    assert np.isnan(metrics.ACCURACY([], []))
    assert metrics.PEARSON([], []) == 0.0
