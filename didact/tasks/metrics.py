"""The official scores of the tasks, each a function of one weighted sum over examples.

Every score here depends on the examples only through numbers that can be kept per example (correct or not; true and
false positives of each class; products for a correlation; ranks). So a score of the whole set, of any resample of it
and of any weighting is one matrix product: what bootstrap intervals need (`evaluation.intervals`), without a loop.
scikit-learn and scipy are the oracles of the tests. All scores are shares, 0 to 1 (correlations -1 to 1).

Shapes: n examples, k numbers of each, c classes, R weightings of the examples (resamples).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Units = Callable[[Sequence[Any], Sequence[Any]], Floats]


@dataclass(frozen=True)
class Metric:
    """name; units(predicted, gold) -> (n, k): what each example brings; over(units, weights (R, n)) -> (R,): the
    score when example i counts weights[r, i] times. higher: whether more is better. signature: how it was computed,
    where that must be told beside the number (BLEU's tokens, smoothing, version).
    """

    name: str
    units: Units
    over: Callable[[Floats, Floats], Floats]
    higher: bool = True
    signature: str = ""

    def __call__(self, predicted: Sequence[Any], gold: Sequence[Any]) -> float:
        """The score of the whole set; not a number where it is undefined (no examples)."""
        units = self.units(predicted, gold)
        return float(self.over(units, np.ones((1, len(units))))[0])


def share(name: str, per_example: Callable[[Any, Any], float], higher: bool = True) -> Metric:
    """The mean of a number per example: accuracy, exact match, token F1, squared error."""

    def units(predicted: Sequence[Any], gold: Sequence[Any]) -> Floats:
        return np.array([[per_example(p, g), 1.0] for p, g in zip(predicted, gold, strict=True)]).reshape(-1, 2)

    return Metric(name, units, summed(ratio), higher)


def summed(value: Callable[[Floats], Floats]) -> Callable[[Floats, Floats], Floats]:
    """A score from the weighted sum of the units, (…, k) -> (…)."""
    return lambda units, weights: value(weights @ units)


def ratio(sums: Floats) -> Floats:
    """(…, 2): a sum and its count."""
    return divided(sums[..., 0], sums[..., 1], empty=np.nan)


def divided(a: Floats, b: Floats, empty: float = 0.0) -> Floats:
    """a / b, `empty` where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.full(a.shape, empty), where=b != 0)


def f_score(true: Floats, predicted: Floats, gold: Floats) -> Floats:
    """F1 from counts: 2 · true positives / (predicted + gold), 0 where there is neither."""
    return divided(2 * true, predicted + gold)


ACCURACY = share("accuracy", lambda p, g: float(p == g))
SQUARED_ERROR = share("mse", lambda p, g: (float(p) - float(g)) ** 2, higher=False)


# Scores over classes. An answer is one class or a set of classes (multi-label); each example brings, per class,
# whether it was rightly predicted, predicted, and gold.


def class_counts(classes: Sequence[str]) -> Units:
    """units -> (n, 3c): for each class true positive, predicted, gold, in that order of blocks."""
    number = {name: i for i, name in enumerate(classes)}

    def units(predicted: Sequence[Any], gold: Sequence[Any]) -> Floats:
        counts = np.zeros((len(gold), 3, len(classes)))
        for i, (p, g) in enumerate(zip(predicted, gold, strict=True)):
            ps, gs = _members(p), _members(g)
            for block, names in enumerate((ps & gs, ps, gs)):
                for name in names:
                    counts[i, block, number[name]] = 1.0
        return counts.reshape(len(gold), -1)

    return units


def _members(answer: Any) -> frozenset[Any]:
    return frozenset(answer) if isinstance(answer, list | tuple | set | frozenset) else frozenset((answer,))


def _blocks(sums: Floats) -> tuple[Floats, Floats, Floats]:
    true, predicted, gold = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    return true, predicted, gold


def f1_binary(classes: Sequence[str], positive: str) -> Metric:
    """F1 of one class (GLUE's MRPC and QQP: of "1")."""
    index = list(classes).index(positive)

    def value(sums: Floats) -> Floats:
        true, predicted, gold = _blocks(sums)
        return f_score(true[..., index], predicted[..., index], gold[..., index])

    return Metric("f1", class_counts(classes), summed(value))


def f1_macro(classes: Sequence[str]) -> Metric:
    """The mean of the classes' F1; as in scikit-learn, over the classes that are gold or predicted somewhere."""

    def value(sums: Floats) -> Floats:
        true, predicted, gold = _blocks(sums)
        return divided(f_score(true, predicted, gold).sum(-1), ((predicted + gold) > 0).sum(-1))

    return Metric("f1_macro", class_counts(classes), summed(value))


def f1_micro(classes: Sequence[str]) -> Metric:
    """F1 of all classes' counts together (for multi-label answers; for single labels it is the accuracy)."""

    def value(sums: Floats) -> Floats:
        true, predicted, gold = (block.sum(-1) for block in _blocks(sums))
        return f_score(true, predicted, gold)

    return Metric("f1_micro", class_counts(classes), summed(value))


def matthews(classes: Sequence[str]) -> Metric:
    """Matthews' correlation coefficient, for any number of classes (Gorodkin, 2004); GLUE's CoLA and AX."""

    def value(sums: Floats) -> Floats:
        true, predicted, gold = _blocks(sums)
        n, right = gold.sum(-1), true.sum(-1)
        covariance = right * n - (predicted * gold).sum(-1)
        variance = (n**2 - (predicted**2).sum(-1)) * (n**2 - (gold**2).sum(-1))
        return divided(covariance, np.sqrt(np.maximum(variance, 0.0)))

    return Metric("matthews", class_counts(classes), summed(value))


# Correlations of numbers.


def _numbers(predicted: Sequence[Any], gold: Sequence[Any]) -> Floats:
    return np.array([[float(p), float(g)] for p, g in zip(predicted, gold, strict=True)]).reshape(-1, 2)


def weighted_correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's r of x and y (n,) or (R, n) under weights (R, n) -> (R,); 0 where either does not vary."""
    dx, vx = _centred(x, weights)
    dy, vy = _centred(y, weights)
    return np.clip(divided((weights * dx * dy).sum(-1), np.sqrt(vx * vy)), -1.0, 1.0)


def _centred(x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """x less its weighted mean (R, n), and the weighted sum of its squares (R,): 0 where only rounding varies."""
    total = weights.sum(-1, keepdims=True)
    centred = x - divided((weights * x).sum(-1, keepdims=True), total)
    squares = (weights * centred**2).sum(-1)
    dust = 1e-24 * total[..., 0] * np.max(np.square(x), initial=0.0)
    return centred, np.where(squares <= dust, 0.0, squares)


def weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """(R, n) middle ranks of values (n,), example i repeated weights[r, i] times: ranks within every resample."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(values) else np.zeros(0, np.int64)
    tied = np.add.reduceat(weights[:, order], starts, axis=-1)
    middle = np.cumsum(tied, axis=-1) - tied + (tied + 1) / 2
    ranks = np.empty_like(weights, dtype=np.float64)
    ranks[:, order] = np.repeat(middle, np.diff(np.r_[starts, len(values)]), axis=-1)
    return ranks


def _pearson(units: Floats, weights: Floats) -> Floats:
    return weighted_correlation(units[:, 0], units[:, 1], weights)


def _spearman(units: Floats, weights: Floats) -> Floats:
    x, y = (weighted_ranks(column, weights) for column in units.T)
    return weighted_correlation(x, y, weights)


PEARSON = Metric("pearson", _numbers, _pearson)
SPEARMAN = Metric("spearman", _numbers, _spearman)
