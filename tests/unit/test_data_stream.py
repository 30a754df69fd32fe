"""didact.data.stream: which examples a step is made of (workers, ranks, restarts: tests/laws/test_determinism.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from data_tools import Numbered
from hypothesis import given
from hypothesis import strategies as st

from didact.batch import Batch, Example
from didact.data.flat import Flat
from didact.data.lay import lay
from didact.data.loader import Loader
from didact.data.packing import efficiency
from didact.data.stream import BySequences, ByTokens, Mixture, Stream
from didact.errors import InputError

STAIRS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), max_size=5)


def unasked(examples: Sequence[Example], keys: Any, step: int) -> Flat:  # noqa: ARG001
    return lay(examples)


def shown(batches: Sequence[Batch]) -> list[int]:
    """The examples in some batches, by the number they hold."""
    return [
        int(b.inputs.packed.tokens[start]) for b in batches if b.tokens for start in b.inputs.packed.cu_seqlens[:-1]
    ]


@given(STAIRS, st.integers(1, 9), st.integers(0, 60))
def test_the_closed_form_is_the_sum(stairs: list[tuple[int, int]], size: int, step: int) -> None:
    warmup = tuple(sorted(dict(stairs).items()))
    plan = BySequences(size, warmup)
    sizes = [next((n for until, n in warmup if s < until), size) for s in range(step)]
    assert plan.before(step) == sum(sizes)


@pytest.mark.parametrize(("start", "size", "steps"), [(4, 32, 100), (1, 8, 3), (8, 8, 10), (2, 9, 0)])
def test_a_linear_warmup_rises_to_the_size(start: int, size: int, steps: int) -> None:
    plan = BySequences.linear(start, size, steps)
    sizes = [plan.before(s + 1) - plan.before(s) for s in range(steps + 5)]
    assert sizes == sorted(sizes)
    assert all(n == size for n in sizes[steps:])
    if steps > size > start:
        assert sizes[0] == start
        assert sum(sizes[:steps]) == pytest.approx(steps * (start + size - 1) / 2, rel=0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BySequences(0),
        lambda: BySequences(4, ((10, 2), (5, 3))),
        lambda: BySequences(4, ((10, 0),)),
        lambda: BySequences.linear(9, 4, 10),
        lambda: ByTokens(0),
        lambda: ByTokens(64, window=0),
        lambda: Stream(Numbered(0), unasked, BySequences(2), 16),
        lambda: Stream(Numbered(4), unasked, ByTokens(48), 16, ranks=2),
    ],
)
def test_what_makes_no_sense_is_said(make: Any) -> None:
    with pytest.raises(InputError):
        make()


def test_epochs_follow_each_other_in_new_orders() -> None:
    stream = Stream(Numbered(10), unasked, BySequences(5), 1000)
    epochs = [shown(stream[2 * e]) + shown(stream[2 * e + 1]) for e in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = Stream(Numbered(10), unasked, BySequences(5), 1000, seed=1)
    assert shown(other[0]) != shown(stream[0])


def test_an_example_is_drawn_anew_every_epoch() -> None:
    stream = Stream(Numbered(3), unasked, BySequences(3), 1000)
    lengths = {tuple(len(e) for e in stream.examples(np.arange(3 * k, 3 * k + 3))[0]) for k in range(4)}
    assert len(lengths) > 1


def test_a_step_may_cross_the_end_of_an_epoch() -> None:
    stream = Stream(Numbered(4), unasked, BySequences(3), 1000)
    first = [i for s in range(4) for i in shown(stream[s])]
    assert Counter(first) == dict.fromkeys(range(4), 3)


def test_mixtures_keep_their_proportions_and_show_everything_once_an_epoch() -> None:
    sources = (Numbered(700, 0), Numbered(50, 1), Numbered(10, 2))
    stream = Stream(Mixture(sources, (6.0, 3.0, 1.0)), unasked, BySequences(500), 100_000)
    seen = [i for s in range(8) for i in shown(stream[s])]
    by_source = Counter(i // 1000 for i in seen)
    assert [by_source[k] / len(seen) for k in range(3)] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    for base, source in enumerate(sources):
        times = Counter(i for i in seen if i // 1000 == base)
        assert len(times) == len(source)
        assert max(times.values()) - min(times.values()) <= 1


def test_steps_in_tokens_are_full_and_forget_nobody() -> None:
    stream = Stream(Numbered(60), unasked, ByTokens(64, window=60), 32)
    steps = [batches for batches, _ in islice(Loader(stream), 40)]
    assert all(len(batches) == 2 for batches in steps)
    loads = [b.tokens for batches in steps for b in batches]
    assert max(loads) <= 32
    first = [i for batches in steps for i in shown(batches)]
    times = [Counter(first)[i] for i in range(60)]  # a window is an epoch here
    assert max(times) - min(times) == 1


def test_a_window_is_large_enough_unless_told() -> None:
    stream = Stream(Numbered(5000), unasked, ByTokens(256), 256)
    item = stream.item(0)
    assert stream.window > 1000
    assert efficiency(item.flat.sizes, item.packs, 256) > 0.99


def test_positions_in_tokens() -> None:
    stream = Stream(Numbered(60), unasked, ByTokens(96, window=20), 32)
    positions = [p for _, p in islice(Loader(stream), 10)]
    assert [p.step for p in positions] == list(range(1, 11))
    assert all(p.pack < len(stream.item(p.window).packs) for p in positions)
    assert sorted((p.window, p.pack) for p in positions) == [(p.window, p.pack) for p in positions]


def test_schedules_read_the_step() -> None:
    asked: list[int] = []

    def noting(examples: Sequence[Example], keys: Any, step: int) -> Flat:  # noqa: ARG001
        asked.append(step)
        return lay(examples)

    Stream(Numbered(60), noting, BySequences(3), 64)[7]
    assert asked == [7]
    stream = Stream(Numbered(60), noting, ByTokens(64, window=60), 64)
    stream.item(10)
    nominal = 10 * 60 * stream.mean_size / 64
    assert asked[-1] == int(nominal)


def test_the_bound_is_stated() -> None:
    stream = Stream(Numbered(9), unasked, BySequences(3), 64, max_seqlen=48)
    assert stream[0][0].inputs.packed.max_seqlen == 48
    spread = Stream(Numbered(9), unasked, BySequences(1), 64, max_seqlen=48, ranks=2, rank=1)
    assert spread[0][0].inputs.packed.max_seqlen == 48
    assert spread[0][0].tokens == 0
