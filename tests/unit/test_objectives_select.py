"""didact.objectives.select: the budget is exact, words stay whole, spans have the lengths they should."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from data_tools import example, selections
from hypothesis import given
from hypothesis import strategies as st

from didact.batch import Example
from didact.data.lay import lay
from didact.objectives.select import Chosen, InContext, NGrams, Select, Spans, WholeWords

EVERY = pytest.mark.parametrize("select", selections(), ids=lambda s: s.kind)
EVEN = pytest.mark.parametrize("select", [s for s in selections() if s.even], ids=lambda s: s.kind)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def worded(sizes: list[int], gaps: set[int] = frozenset()) -> Example:  # type: ignore[assignment]
    """[CLS], words of these sizes with a special token before each word in `gaps`, [SEP]; no collocations."""
    words: list[int] = [-1]
    for number, size in enumerate(sizes):
        words += [-1] * (number in gaps) + [number] * size
    numbers = np.array([*words, -1])
    return Example(2 * np.arange(len(numbers)), numbers < 0, words=numbers)


def own(chosen: Chosen, i: int) -> list[int]:
    """The rows chosen of sequence i, numbered in the flat."""
    return chosen.rows[chosen.sequences == i].tolist()


@EVEN
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.4, 1.0])
def test_the_budget_is_met_and_its_mean_is_exact(select: Select, rate: float) -> None:
    examples = [replace(worded([1] * (1 + i % 50)), tokens=2 * np.arange(3 + i % 50)) for i in range(3000)]
    chosen = select(lay(examples), rate, keys(3000))
    counts = np.bincount(chosen.sequences, minlength=3000)
    choosable = np.array([len(e) - 2 for e in examples])
    low, high = np.floor(rate * choosable), np.floor(rate * choosable) + 1
    assert (counts >= np.maximum(low, 1)).all()
    assert (counts <= np.maximum(np.minimum(high, choosable), 1)).all()
    large = rate * choosable >= 1  # where at least one is no rule of its own
    assert counts[large].mean() == pytest.approx((rate * choosable[large]).mean(), rel=0.01)


@EVERY
def test_special_tokens_are_never_chosen(select: Select) -> None:
    examples = [example(n, seed=n) for n in range(2, 60)]
    flat = lay(examples)
    chosen = select(flat, 1.0, keys(len(examples)))
    special = np.concatenate([e.special for e in examples])
    assert not special[chosen.rows].any()
    assert len(chosen.rows) == (~special).sum() or not select.even
    assert (np.diff(chosen.rows) > 0).all()
    assert np.array_equal(np.searchsorted(flat.cuts, chosen.rows, side="right") - 1, chosen.sequences)


@EVERY
def test_nothing_to_choose_and_one_to_choose(select: Select) -> None:
    flat = lay([worded([]), worded([1]), worded([]), worded([1, 1])])
    chosen = select(flat, 0.01, keys(4))
    assert np.bincount(chosen.sequences, minlength=4).tolist() == [0, 1, 0, 1]
    assert select(lay([]), 0.15, keys(0)).rows.tolist() == []


@EVERY
def test_a_choice_depends_on_its_own_key_and_example_alone(select: Select) -> None:
    examples = [example(4 + i % 37, seed=i) for i in range(40)]
    every = keys(40)
    flat = lay(examples)
    together = select(flat, 0.3, every)
    for i, e in enumerate(examples):
        alone = select(lay([e]), 0.3, every[i : i + 1])
        assert own(together, i) == (alone.rows + flat.cuts[i]).tolist()
        assert together.parts[together.sequences == i].tolist() == alone.parts.tolist()
    other = select(flat, 0.3, keys(40, seed=1))
    assert not np.array_equal(other.rows, together.rows)


@EVEN
def test_every_token_has_the_same_chance(select: Select) -> None:
    flat = lay([worded([1] * 20)] * 8000)
    chosen = select(flat, 0.25, keys(8000))
    chance = np.bincount(chosen.rows - flat.cuts[chosen.sequences], minlength=22)[1:-1] / 8000
    assert chance.mean() == pytest.approx(0.25, abs=1e-3)
    spread = 0.06 if isinstance(select, Spans) else 0.02  # a span is cut where the sequence ends
    assert (np.abs(chance - 0.25) < spread).all()


@given(st.lists(st.integers(1, 5), max_size=30), st.floats(0.01, 1.0), st.integers(0, 2**32))
@pytest.mark.parametrize("select", [WholeWords()])
def test_words_stay_whole_and_within_the_budget(select: Select, sizes: list[int], rate: float, seed: int) -> None:
    e = worded(sizes)
    chosen = select(lay([e]), rate, keys(1, seed))
    assert e.words is not None
    taken = Counter(e.words[chosen.rows].tolist())
    assert all(count == sizes[word] for word, count in taken.items())
    budget = min(np.floor(rate * sum(sizes)) + 1, sum(sizes))
    if len(chosen.rows) > max(budget, 1):  # no word fits: the shortest
        assert len(taken) == 1
        assert len(chosen.rows) == min(sizes)
    assert bool(sizes) == bool(len(chosen.rows))


def test_words_fill_the_budget_past_one_that_is_too_long() -> None:
    flat = lay([worded([9, 1, 1, 1, 1, 1, 1])] * 200)  # 15 tokens, budget 4 or 5: the long one never fits
    chosen = WholeWords()(flat, 0.3, keys(200))
    counts = np.bincount(chosen.sequences)
    assert set(counts.tolist()) == {4, 5}


def test_where_no_word_fits_the_shortest_is_taken() -> None:
    flat = lay([worded([5, 3, 4])] * 20)
    chosen = WholeWords()(flat, 0.01, keys(20))
    assert all(own(chosen, i) == (np.arange(6, 9) + flat.cuts[i]).tolist() for i in range(20))


@pytest.mark.parametrize(("p", "longest"), [(0.2, 10), (0.5, 4), (0.9, 1)])
def test_spans_have_the_stated_lengths(p: float, longest: int) -> None:
    size = 400
    flat = lay([worded([1] * size)] * 300)
    select = Spans(p=p, longest=longest)
    chosen = select(flat, 1.0, keys(300))  # all are taken: the tiles themselves are seen
    _, counts = np.unique(np.stack([chosen.sequences, chosen.parts]), axis=1, return_counts=True)
    found = np.bincount(counts, minlength=longest + 1)[1:] / len(counts)
    wanted = p * (1 - p) ** np.arange(longest)
    assert found == pytest.approx(wanted / wanted.sum(), abs=0.012)
    if (p, longest) == (0.2, 10):
        assert counts.mean() == pytest.approx(3.8, abs=0.05)  # Joshi et al., 2020, §3.1


@pytest.mark.parametrize("longest", [1, 3, 5])
def test_ngrams_have_the_stated_lengths(longest: int) -> None:
    flat = lay([worded([1] * 400)] * 300)
    chosen = NGrams(longest)(flat, 1.0, keys(300))
    _, counts = np.unique(np.stack([chosen.sequences, chosen.parts]), axis=1, return_counts=True)
    found = np.bincount(counts, minlength=longest + 1)[1:] / len(counts)
    wanted = 1 / np.arange(1, longest + 1)  # Lan et al., 2020, §4.1
    assert found == pytest.approx(wanted / wanted.sum(), abs=0.012)


def test_spans_are_runs_that_no_special_token_breaks() -> None:
    flat = lay([worded([1, 2, 1, 3] * 10, gaps={7, 20})] * 300)
    chosen = Spans()(flat, 0.4, keys(300))
    special = flat.column("special")
    assert special is not None
    for i in range(300):
        of = chosen.sequences == i
        for part in np.unique(chosen.parts[of]):
            rows = chosen.rows[of & (chosen.parts == part)]
            assert not special[rows[0] : rows[-1] + 1].any()
    words = flat.column("words")
    assert words is not None
    whole = Counter(zip(chosen.sequences.tolist(), words[chosen.rows].tolist(), strict=True))
    assert all(n == [1, 2, 1, 3][word % 4] for (_, word), n in whole.items())


def test_fewer_spans_are_chosen_than_tokens() -> None:
    flat = lay([worded([1] * 100)] * 200)
    chosen = Spans()(flat, 0.15, keys(200))
    parts = np.unique(np.stack([chosen.sequences, chosen.parts]), axis=1).shape[1]
    assert 2.5 < len(chosen.rows) / parts < 4.0  # the last one is cut where the budget ends


@pytest.mark.parametrize("select", [WholeWords(), Spans(), InContext()])
def test_words_must_be_numbered(select: Select) -> None:
    with pytest.raises(ValueError, match="`words` are numbered"):
        select(lay([replace(example(5), words=None)]), 0.15, keys(1))


def test_adjacent_words_of_equal_number_in_two_sequences_are_two() -> None:
    bare = Example(np.arange(3), np.zeros(3, bool), words=np.zeros(3, np.int64))  # no special tokens between them
    chosen = WholeWords()(lay([bare, bare]), 0.1, keys(2))
    assert np.bincount(chosen.sequences).tolist() == [3, 3]


def test_runs_in_context_have_the_stated_lengths_and_distances() -> None:
    flat = lay([worded([1] * 600)] * 100)
    chosen = InContext()(flat, 1 / 6, keys(100))
    runs = chosen.parts >= 0
    assert runs.mean() > 0.9  # the others fill the budget
    _, first, counts = np.unique(
        np.stack([chosen.sequences, chosen.parts])[:, runs], axis=1, return_index=True, return_counts=True
    )
    assert counts.max() == 5
    found = np.bincount(counts, minlength=6)[1:] / len(counts)
    wanted = 1 / np.arange(1, 6)
    assert found == pytest.approx(wanted / wanted.sum(), abs=0.03)  # some are cut where the budget ends
    rows = chosen.rows[runs]
    for a, b, n, m in zip(first, first[1:], counts, counts[1:], strict=False):
        if chosen.sequences[runs][a] == chosen.sequences[runs][b]:
            assert rows[b] - rows[a] <= 12 * (n + m) + 60  # no stretch is longer than 6 n, nor two of them left out


def test_special_tokens_break_no_stretch() -> None:
    flat = lay([worded([1] * 40, gaps={10, 20, 30})] * 4000)
    chosen = InContext()(flat, 0.25, keys(4000))
    chance = np.bincount(chosen.rows - flat.cuts[chosen.sequences], minlength=45) / 4000
    special = flat.example(0).special
    assert not chance[special].any()
    assert (np.abs(chance[~special] - 0.25) < 0.03).all()
