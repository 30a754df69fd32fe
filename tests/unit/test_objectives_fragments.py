"""didact.objectives.fragments: T5's spans against the published algorithm, MASS's fragment, the end of a text."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, groupby

import numpy as np
import pytest
from data_tools import corruptible

from didact.batch import Example
from didact.data.flat import Flat
from didact.data.lay import lay
from didact.objectives import Fragment, Segments, Suffix


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def bare(length: int, copies: int) -> Flat:
    return lay([Example(np.arange(length), np.zeros(length, bool))] * copies)


def masks(flat: Flat, rows: np.ndarray) -> list[tuple[bool, ...]]:
    """Which tokens of each sequence are chosen."""
    chosen = np.zeros(len(flat.tokens), bool)
    chosen[rows] = True
    return [tuple(part.tolist()) for part in np.split(chosen, flat.cuts[1:-1])]


def published(length: int, rate: float, mean: float) -> tuple[int, int]:
    """Hidden tokens and spans, as random_spans_noise_mask counts them."""
    hidden = min(max(round(length * rate), 1), length - 1)
    return hidden, max(round(hidden / mean), 1)


@pytest.mark.parametrize(("rate", "mean"), [(0.15, 3.0), (0.15, 8.0), (0.5, 3.0), (0.5, 64.0), (0.25, 1e9), (0.3, 1.0)])
def test_counts_and_ends_of_spans_are_the_published_ones(rate: float, mean: float) -> None:
    for length in (2, 3, 5, 7, 20, 63, 512):
        flat = bare(length, 20)
        hidden, spans = published(length, rate, mean)
        for mask in masks(flat, Segments(mean)(flat, rate, keys(20)).rows):
            assert sum(mask) == hidden
            runs = [taken for taken, _ in groupby(mask)]
            assert runs == [False, True] * min(spans, length - hidden)
            assert len([run for run in runs if run]) <= Segments(mean).most_runs(length, rate)


def test_all_ways_of_cutting_are_equally_likely() -> None:
    """12 tokens, 5 of them hidden, in 2 spans: 6 ways of cutting 7 kept tokens in two, 4 ways of cutting 5."""
    flat = bare(12, 24_000)
    found = Counter(masks(flat, Segments(2.5)(flat, 0.4, keys(24_000)).rows))
    ways = set()
    for (kept,), (gone,) in ((a, b) for a in combinations(range(1, 7), 1) for b in combinations(range(1, 5), 1)):
        ways.add((False,) * kept + (True,) * gone + (False,) * (7 - kept) + (True,) * (5 - gone))
    assert set(found) == ways
    assert len(ways) == 24
    assert np.array(list(found.values())) == pytest.approx(1000, abs=130)  # four standard deviations


def test_one_span_of_a_large_mean_is_the_end_of_the_text() -> None:
    flat = bare(40, 10)
    assert set(masks(flat, Segments(1e9)(flat, 0.25, keys(10)).rows)) == {(False,) * 30 + (True,) * 10}


def test_a_text_of_one_token_is_hidden_and_one_of_none_is_left() -> None:
    flat = lay([corruptible(3), corruptible(2), corruptible(4)])
    for select in (Segments(), Fragment(), Suffix()):
        counts = np.bincount(select(flat, 0.5, keys(3)).sequences, minlength=3)
        assert counts.tolist() == [1, 0, 1]


@pytest.mark.parametrize("edges", [0.0, 0.2, 0.5])
def test_where_a_fragment_begins(edges: float) -> None:
    """Half of 10 tokens: it begins at one of 6 places, the first and the last `edges` of the time besides."""
    flat = bare(10, 12_000)
    chosen = Fragment(edges)(flat, 0.5, keys(12_000))
    begins = chosen.rows.reshape(-1, 5) - flat.cuts[:-1, None]
    assert (np.diff(begins) == 1).all()
    share = np.bincount(begins[:, 0], minlength=6) / 12_000
    wanted = np.full(6, (1 - 2 * edges) / 6)
    wanted[[0, -1]] += edges
    assert share == pytest.approx(wanted, abs=0.015)


def test_a_fragment_in_each_block() -> None:
    flat = lay([corruptible(40, seed) for seed in range(300)])  # 37 tokens that may be chosen: 16, 16 and 5
    select = Fragment(edges=0.0, block=16)
    chosen = select(flat, 0.5, keys(300))
    assert set(np.bincount(chosen.sequences).tolist()) == {18, 19}  # half of 5 is 2 or 3
    assert select.most_runs(37, 0.5) == 3
    for i in range(300):
        parts = chosen.parts[chosen.sequences == i]
        assert np.bincount(parts)[:2].tolist() == [8, 8]


def test_a_suffix_is_any_end_or_the_share_that_is_asked() -> None:
    flat = bare(8, 14_000)
    chosen = Suffix()(flat, 0.5, keys(14_000))
    counts = np.bincount(chosen.sequences)
    assert np.bincount(counts, minlength=8)[1:] / 14_000 == pytest.approx(1 / 7, abs=0.015)
    assert all(mask == tuple(sorted(mask)) for mask in masks(flat, chosen.rows))
    assert np.bincount(Suffix(drawn=False)(flat, 0.25, keys(14_000)).sequences).tolist() == [2] * 14_000


def test_wrong_settings() -> None:
    unending = lambda: Segments(float("inf")), lambda: Segments(float("nan"))
    for wrong in (*unending, lambda: Segments(0.5), lambda: Fragment(0.6), lambda: Fragment(block=1)):
        with pytest.raises(ValueError, match=r"mean|edges|block"):
            wrong()
