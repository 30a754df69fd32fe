from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from didact.tokenization.sample import cut_runs, sample


def test_a_small_corpus_is_taken_whole() -> None:
    found = sample(["one", "two", "", "three"], 1000)
    assert sorted(found.texts) == ["one", "three", "two"]
    assert (found.size, found.seen, found.seen_size) == (11, 4, 11)


def test_the_sample_does_not_depend_on_the_order() -> None:
    texts = [f"text number {i} " * (i % 5 + 1) for i in range(500)]
    first = sample(texts, 2000)
    random.Random(0).shuffle(texts)
    again = sample(iter(texts), 2000)
    assert first == again
    assert 1500 < first.size <= 2000
    assert first.seen == 500


def test_every_text_has_the_same_chance() -> None:
    texts = [f"{i:04}" for i in range(4000)]
    kept = sample(texts, 4 * 1000).texts
    assert 900 < len(kept) <= 1000
    assert 0.4 < sum(t < "2000" for t in kept) / len(kept) < 0.6


def test_one_text_is_taken_whatever_its_size() -> None:
    assert len(sample(["x" * 100, "y" * 100], 10).texts) == 1
    assert sample([], 10).texts == []


@given(st.text(alphabet="ab \n中", max_size=200))
def test_long_runs_are_cut(text: str) -> None:
    cut = cut_runs(text, 7)
    assert max(map(len, cut.split()), default=0) <= 7
    assert cut.replace(" ", "") == text.replace(" ", "")
    if max(map(len, text.split()), default=0) <= 7:
        assert cut == text
