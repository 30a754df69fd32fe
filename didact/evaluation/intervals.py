"""How sure a score is: percentile bootstrap intervals, of one score and of a paired difference, over examples, groups
of examples and seeds (Efron & Tibshirani, 1993, §13.3; Koehn, 2004, "Statistical significance tests for machine
translation evaluation", for the paired form), and the t interval over seeds.

A resample is a weight for every example (how often it was drawn), so all resamples of a score are matrix products
(`tasks.metrics`). Examples that belong together (questions on one paragraph) are drawn together. With several seeds the
same examples are drawn for every seed and the seeds' scores are averaged; the interval is then about the expected score
of the recipe on new examples. Its seeds can be resampled too: S - 1 of S, since the mean of as many as there are would
vary by only (S - 1) / S of what the mean of S seeds does (Rao & Wu, 1988, "Resampling inference with complex survey
data", §2).

Shapes: S seeds, n examples, k numbers of each, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.randomness import generator
from didact.tasks.metrics import Floats, Metric

_BLOCK = 2_000_000  # weights at a time: 16 MB


@dataclass(frozen=True)
class Interval:
    """value, and the interval [low, high] that holds it with confidence `level`; not a number where it is undefined."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above 0 (of a difference: surely better)."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.high < 0

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def interval(
    metric: Metric,
    units: Floats | Sequence[Floats],
    groups: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    resample_seeds: bool = False,
) -> Interval:
    """The score and its bootstrap interval.

    units: metric.units(…) of one run (n, k), or of each seed's run on the same examples; groups (n,): examples of equal
    group are drawn together, None = each alone; resample_seeds: draw seeds too; of a single one nothing is known.
    """
    runs = _runs(units)
    values = _resampled(metric, runs, _groups(groups, runs), resamples, seed, resample_seeds)
    return _percentiles(_value(metric, runs), values, level)


def difference(
    metric: Metric,
    units: Floats | Sequence[Floats],
    baseline: Floats | Sequence[Floats],
    groups: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    resample_seeds: bool = False,
) -> Interval:
    """The score less the baseline's, both on the same examples, and its paired bootstrap interval: each resample draws
    the same examples for both. The two sides may have different numbers of seeds. Raises ValueError where the examples
    differ in number.
    """
    a, b = _runs(units), _runs(baseline)
    if len(a[0]) != len(b[0]):
        raise ValueError(f"{len(a[0])} examples against {len(b[0])}: a paired difference needs the same examples")
    drawn = _groups(groups, a)
    ours = _resampled(metric, a, drawn, resamples, seed, resample_seeds)
    theirs = _resampled(metric, b, drawn, resamples, seed, resample_seeds, stream=1)
    value = _value(metric, a) - _value(metric, b)
    return _percentiles(value, ours - theirs, level)


def over_seeds(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of the seeds' scores and its t interval: of the recipe, on these examples. One seed has no interval."""
    from scipy.stats import t

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, math.nan, math.nan, level)
    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, level)


def _runs(units: Floats | Sequence[Floats]) -> list[Floats]:
    runs = [units] if isinstance(units, np.ndarray) and units.ndim == 2 else [np.asarray(run) for run in units]
    if not runs or len({len(run) for run in runs}) != 1:
        raise ValueError(f"runs of {[len(run) for run in runs]} examples: expected the same examples in each")
    return runs


def _groups(groups: Sequence[Any] | None, runs: list[Floats]) -> NDArray[np.int64]:
    """(n,): the number of each example's group."""
    n = len(runs[0])
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise ValueError(f"{len(groups)} groups for {n} examples")
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], np.int64)


def _value(metric: Metric, runs: list[Floats]) -> float:
    return float(np.mean([metric.over(run, np.ones((1, len(run))))[0] for run in runs]))


def _resampled(
    metric: Metric,
    runs: list[Floats],
    groups: NDArray[np.int64],
    resamples: int,
    seed: int,
    resample_seeds: bool,
    stream: int = 0,
) -> Floats:
    """(R,) scores, averaged over seeds. The examples drawn depend on `seed` alone, the seeds also on `stream`."""
    if not len(groups) or not resamples:
        return np.zeros(0)
    scores = [np.stack([metric.over(run, weights) for run in runs]) for weights in draws(groups, resamples, seed)]
    by_seed = np.concatenate(scores, axis=1)
    if not resample_seeds:
        return by_seed.mean(0)
    seeds, count = by_seed.shape
    drawn = generator(seed, 2, stream).integers(seeds, size=(max(1, seeds - 1), count))
    return np.take_along_axis(by_seed, drawn, axis=0).mean(0)


def draws(groups: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks (r, n) of weights: as many groups as there are, drawn with replacement; r in all = resamples."""
    rng, count = generator(seed, 1), int(groups.max()) + 1
    block = max(1, _BLOCK // max(count, len(groups)))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        picked = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(picked.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, groups].astype(np.float64)


def _percentiles(value: float, values: Floats, level: float) -> Interval:
    kept = values[np.isfinite(values)]  # a resample without any case of a conditional score has no value
    if not len(kept):
        return Interval(value, math.nan, math.nan, level)
    low, high = np.quantile(kept, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value, float(low), float(high), level)
