"""didact.objectives.corrupt: 80/10/10, nothing special drawn, nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from didact.objectives.corrupt import Corrupt
from didact.objectives.select import Chosen

N, PER = 400, 100
SPECIALS = (0, 3, 4, 9)


def corrupted(corrupt: Corrupt, parts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Original tokens, corrupted ones and which are hidden, every second token of N sequences chosen."""
    tokens = np.random.default_rng(0).integers(20, 50, N * PER)
    rows = np.arange(0, N * PER, 2)
    chosen = Chosen(rows, rows // PER, rows % PER if parts is None else parts)
    keys = np.random.default_rng(1).integers(2**64, size=N, dtype=np.uint64)
    new, hidden = corrupt(tokens, np.arange(0, N * PER + 1, PER), chosen, keys)
    return tokens, new, hidden


def test_shares() -> None:
    tokens, new, hidden = corrupted(Corrupt(0.8, 0.1, 3, 50, SPECIALS))
    own, was = new[::2], tokens[::2]
    assert np.array_equal(new[1::2], tokens[1::2])
    assert (own == 3).mean() == pytest.approx(0.8, abs=0.01)
    assert (~hidden).mean() == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(own[~hidden], was[~hidden])
    drawn = own[hidden & (own != 3)]
    assert len(drawn) / len(own) == pytest.approx(0.1, abs=0.01)
    counts = np.bincount(drawn, minlength=50)
    assert counts[list(SPECIALS)].sum() == 0
    others = np.delete(counts, SPECIALS) / len(drawn)
    assert others == pytest.approx(1 / 46, abs=0.012)


@pytest.mark.parametrize(("mask", "random"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_extremes(mask: float, random: float) -> None:
    tokens, new, hidden = corrupted(Corrupt(mask, random, 3, 50, SPECIALS))
    assert (new[::2] == 3).all() == (mask == 1.0)
    assert hidden.all() == (mask + random == 1.0)
    assert np.array_equal(new, tokens) == (mask + random == 0.0)


def test_together_is_one_fate_for_all_of_a_part() -> None:
    parts = np.arange(0, N * PER, 2) % PER // 10
    _, new, hidden = corrupted(Corrupt(0.8, 0.1, 3, 50, SPECIALS, together=True), parts)
    masked = (new[::2] == 3).reshape(-1, 5)
    assert (masked.all(1) | ~masked.any(1)).all()
    drawn = (hidden & (new[::2] != 3)).reshape(-1, 5)
    assert (drawn.all(1) | ~drawn.any(1)).all()
    assert np.ptp(new[::2].reshape(-1, 5)[drawn.all(1)], axis=1).any()  # but each token its own replacement
    _, alone, _ = corrupted(Corrupt(0.8, 0.1, 3, 50, SPECIALS), parts)
    masked = (alone[::2] == 3).reshape(-1, 5)
    assert not (masked.all(1) | ~masked.any(1)).all()


def test_the_last_special_token_of_a_vocabulary_is_not_drawn() -> None:
    _, new, _ = corrupted(Corrupt(0.0, 1.0, 3, 10, (0, 1, 2, 3, 9)))
    assert set(new[::2].tolist()) == {4, 5, 6, 7, 8}
