"""Windows cover every token, each is answered once, where it sees most."""

from __future__ import annotations

import numpy as np
import pytest

from didact.randomness import generator
from didact.tasks.windows import cut

SHAPES = [(0, 4, 2), (1, 4, 2), (4, 4, 4), (5, 4, 4), (5, 4, 1), (37, 10, 5), (37, 10, 3), (100, 7, 6), (11, 1, 1)]


@pytest.mark.parametrize(("length", "capacity", "stride"), SHAPES)
@pytest.mark.parametrize("words", [False, True])
def test_cover_and_owner(length: int, capacity: int, stride: int, words: bool) -> None:
    breaks = None
    if words:
        breaks = generator(0, length).random(length) < 0.3
        breaks[:1] = True
    windows = cut(length, capacity, stride, breaks)
    assert windows.starts[0] == 0
    assert windows.ends[-1] == length
    assert (windows.ends - windows.starts <= capacity).all()
    assert (windows.starts[1:] <= windows.ends[:-1]).all()  # no token between two windows
    assert (np.diff(windows.starts) > 0).all()
    owners = windows.owner(np.arange(length))
    for token, owner in enumerate(owners):
        contexts = [min(token - s, e - 1 - token) for s, e in zip(windows.starts, windows.ends, strict=True)]
        assert contexts[owner] == max(contexts) >= 0
        assert owner == contexts.index(max(contexts))


def test_windows_begin_at_words() -> None:
    breaks = np.array([1, 0, 1, 0, 0, 1, 1, 0, 0, 1], bool)
    assert cut(10, 4, 3, breaks).starts.tolist() == [0, 2, 5, 6]


def test_as_run_squad_cuts() -> None:
    """BERT's own loop over document spans (run_squad.py)."""
    for length in range(60):
        expected, start = [], 0
        while start < length:
            size = min(length - start, 16)
            expected.append((start, start + size))
            if start + size == length:
                break
            start += min(size, 5)
        windows = cut(length, 16, 5)
        assert list(zip(windows.starts, windows.ends, strict=True)) == (expected or [(0, 0)])


@pytest.mark.parametrize(("capacity", "stride"), [(4, 0), (4, 5), (0, 0)])
def test_refused(capacity: int, stride: int) -> None:
    with pytest.raises(ValueError, match="0 < stride <= capacity"):
        cut(10, capacity, stride)
