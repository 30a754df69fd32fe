"""How sure a score is: percentile bootstrap intervals, of one score and of a paired difference, over examples, groups
of examples and seeds (Efron & Tibshirani, 1993, §13.3; Koehn, 2004, "Statistical significance tests for machine
translation evaluation", for the paired form), and the t interval over seeds.

A resample is a weight for every example (how often it was drawn), so all resamples of a score are matrix products
(`tasks.metrics`). Examples that belong together (questions on one paragraph) are drawn together. With several seeds the
same examples are drawn for every seed and the seeds' scores are averaged; the interval is then about the expected score
of the recipe on new examples. It can be about new seeds too: they add s² / S to the variance, s² that between their
scores; of two or three seeds s² is a guess, and a reach r of the examples' interval becomes t √((r / z)² + s² / S),
with t and z the quantiles of Student's and the normal distribution. Student's degrees of freedom are the whole sum's
(Satterthwaite, 1946, "An approximate distribution of estimates of variance components"): S - 1 for the seeds of either
side, the examples taken as many. So it is r where seeds do not differ, and Student's or Welch's (1947) interval where
they alone do. What seeds answer differently on the same examples counts twice: rather too wide than too narrow.

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
    new_seeds: bool = False,
) -> Interval:
    """The score and its bootstrap interval.

    units: metric.units(…) of one run (n, k), or of each seed's run on the same examples; groups (n,): examples of equal
    group are drawn together, None = each alone, and of fewer than two groups no interval is known; new_seeds: the
    interval is about new seeds too; what they would do a single one does not tell, and adds nothing.
    """
    runs = _runs(units)
    values = _resampled(metric, runs, _groups(groups, runs), resamples, seed)
    own = _scores(metric, runs)
    return _around(float(own.mean()), values, [own] if new_seeds else [], level)


def difference(
    metric: Metric,
    units: Floats | Sequence[Floats],
    baseline: Floats | Sequence[Floats],
    groups: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    new_seeds: bool = False,
) -> Interval:
    """The score less the baseline's, both on the same examples, and its paired bootstrap interval: each resample draws
    the same examples for both. The two sides may have different numbers of seeds. Raises ValueError where the examples
    differ in number.
    """
    a, b = _runs(units), _runs(baseline)
    if len(a[0]) != len(b[0]):
        raise ValueError(f"{len(a[0])} examples against {len(b[0])}: a paired difference needs the same examples")
    drawn = _groups(groups, a)
    values = _resampled(metric, a, drawn, resamples, seed) - _resampled(metric, b, drawn, resamples, seed)
    ours, theirs = _scores(metric, a), _scores(metric, b)
    return _around(float(ours.mean() - theirs.mean()), values, [ours, theirs] if new_seeds else [], level)


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


def _scores(metric: Metric, runs: list[Floats]) -> Floats:
    """(S,) of each seed, on all examples."""
    return np.array([metric.over(run, np.ones((1, len(run))))[0] for run in runs])


def _resampled(metric: Metric, runs: list[Floats], groups: NDArray[np.int64], resamples: int, seed: int) -> Floats:
    """(R,) scores, averaged over seeds; none where fewer than two groups leave nothing to draw. The examples drawn
    depend on `seed` alone.
    """
    if not resamples or not len(groups) or not groups.max():
        return np.zeros(0)
    blocks = draws(groups, resamples, seed)
    return np.concatenate([np.mean([metric.over(run, weights) for run in runs], axis=0) for weights in blocks])


def draws(groups: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks (r, n) of weights: as many groups as there are, drawn with replacement; r in all = resamples."""
    rng, count = generator(seed, 1), int(groups.max()) + 1
    block = max(1, _BLOCK // max(count, len(groups)))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        picked = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(picked.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, groups].astype(np.float64)


def _around(value: float, values: Floats, sides: Sequence[Floats], level: float) -> Interval:
    """The percentiles of the resampled values, and what seeds add; sides: the seeds' scores of each, (S,)."""
    kept = values[np.isfinite(values)]  # a resample without any case of a conditional score has no value
    if not len(kept):
        return Interval(value, math.nan, math.nan, level)
    low, high = (float(bound) for bound in np.quantile(kept, [0.5 - level / 2, 0.5 + level / 2]))
    shares = [(float(own.var(ddof=1)) / len(own), len(own) - 1) for own in sides if len(own) > 1]
    if not any(share for share, _ in shares):
        return Interval(value, low, high, level)
    from scipy.stats import norm, t

    seeds = sum(share for share, _ in shares)
    whole = seeds + float(kept.var())
    freedom = 1 / sum((share / whole) ** 2 / own for share, own in shares)
    student, normal = float(t.ppf(0.5 + level / 2, freedom)), float(norm.ppf(0.5 + level / 2))

    def further(reach: float) -> float:
        """By how much a bound moves; one beyond the value, as of a biased score, counts as no reach."""
        reach = max(reach, 0.0)
        return student * math.hypot(reach / normal, math.sqrt(seeds)) - reach

    return Interval(value, low - further(value - low), high + further(high - value), level)
