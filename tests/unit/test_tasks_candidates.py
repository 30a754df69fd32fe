"""Best spans and thresholds against looking at every one."""

from __future__ import annotations

import numpy as np
import pytest

from didact.randomness import generator
from didact.tasks.candidates import best_spans, best_threshold


@pytest.mark.parametrize(("n", "longest", "k"), [(1, 1, 1), (7, 3, 4), (20, 30, 5), (20, 4, 1000), (5, 1, 2)])
@pytest.mark.parametrize("ties", [False, True])
def test_best_spans(n: int, longest: int, k: int, ties: bool) -> None:
    rng = generator(n, longest)
    starts, ends = rng.normal(size=(2, n))
    if ties:
        starts, ends = starts.round(), ends.round()
    allowed = rng.random(n) < 0.7
    allowed[0] = True
    every = [(a, b, starts[a] + ends[b]) for a in range(n) if allowed[a] for b in range(a, min(n, a + longest))]
    expected = sorted(every, key=lambda s: (-s[2], s[0], s[1]))[:k]
    found = best_spans(starts, ends, longest, k, allowed)
    assert [(a, b) for a, b, _ in expected] == list(zip(*(f.tolist() for f in found[:2]), strict=True))
    np.testing.assert_allclose(found[2], [s for _, _, s in expected])


def test_no_tokens_have_no_spans() -> None:
    assert [len(f) for f in best_spans(np.zeros(0), np.zeros(0), 30, 5)] == [0, 0, 0]


@pytest.mark.parametrize("seed", range(6))
def test_best_threshold(seed: int) -> None:
    rng = generator(seed, 9)
    n = (0, 1, 3, 8, 30, 30)[seed]
    margins, answered, silent = rng.normal(size=n).round(1), rng.random(n).round(1), rng.integers(2, size=n) * 1.0
    threshold = best_threshold(margins, answered, silent)

    def score(t: float) -> float:
        return float(np.where(margins > t, silent, answered).sum())

    tried = [score(t) for t in [-99.0, 99.0, *margins, *(margins - 1e-6)]]
    assert score(threshold) == pytest.approx(max(tried))


def test_threshold_past_the_ends() -> None:
    one = np.ones(2)
    assert best_threshold(np.array([1.0, 2.0]), one, 0 * one) == 3.0  # always answer
    assert best_threshold(np.array([1.0, 2.0]), 0 * one, one) == 0.0  # never
