"""Masking, from text to batch: over a store, for every document format and way of choosing, the budget is respected,
80/10/10 is kept, special tokens are left alone, and words (in English and in Chinese) stay whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from data_tools import selections, small_store

from didact.batch import Example
from didact.data.documents import FORMATS, Format
from didact.data.stored import Store
from didact.objectives import Masked, Select
from didact.randomness import generators

FORMAT = pytest.mark.parametrize("kind", FORMATS, ids=lambda f: f.kind)
SELECT = pytest.mark.parametrize("select", [s for s in selections() if s.even], ids=lambda s: s.kind)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("masking"), count=300)


def masked(store: Store, select: Select, rate: float) -> Masked:
    tokenizer = store.tokenizer
    assert tokenizer.mask is not None
    return Masked(tokenizer.mask, tokenizer.vocabulary, tokenizer.special_ids, rate=rate, select=select)


def asked(
    store: Store, kind: type[Format], select: Select, rate: float
) -> Iterator[tuple[Example, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Every example of a format, the rows it is asked, and what it then reads."""
    source = kind(store, 48)
    keys = np.arange(len(source), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    examples = [source(i, rng) for i, rng in enumerate(generators(keys))]
    for e, prepared in zip(examples, masked(store, select, rate)(examples, keys).prepared(), strict=True):
        (labels,) = prepared.labels
        assert np.array_equal(labels.values, e.tokens[labels.rows])
        yield e, labels.rows, prepared.inputs.tokens


@FORMAT
@SELECT
@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_the_budget_and_the_shares(store: Store, kind: type[Format], select: Select, rate: float) -> None:
    fates = np.zeros(3)  # masked, kept, other
    total = chosen = 0
    for e, rows, now in asked(store, kind, select, rate):
        budget = np.floor(rate * (~e.special).sum()) + 1
        assert not e.special[rows].any()
        shortest = 1
        if select.kind != "tokens":
            assert e.words is not None
            shortest = np.bincount(e.words[~e.special]).min()
        assert 0 < len(rows) <= max(budget, shortest)
        total, chosen = total + int((~e.special).sum()), chosen + len(rows)
        masks, same = now[rows] == store.tokenizer.mask, now[rows] == e.tokens[rows]
        fates += [masks.sum(), (same & ~masks).sum(), (~same & ~masks).sum()]
        drawn = now[rows][~same & ~masks]
        assert not np.isin(drawn, store.tokenizer.special_ids).any()
        untouched = np.setdiff1d(np.arange(len(e)), rows)
        assert np.array_equal(now[untouched], e.tokens[untouched])
    assert chosen / total == pytest.approx(rate, rel=0.12)  # at least one of a short one, whole words of a tight one
    tolerance = 0.05 if select.together else 0.025
    assert fates / fates.sum() == pytest.approx(np.array([0.8, 0.1, 0.1]), abs=tolerance)


@FORMAT
@pytest.mark.parametrize("kind_of_choice", ["whole_words", "spans", "ngrams", "pmi_spans"])
def test_words_are_whole(store: Store, kind: type[Format], kind_of_choice: str) -> None:
    select = {s.kind: s for s in selections()}[kind_of_choice]
    pieces = set()
    for e, rows, _ in asked(store, kind, select, 0.3):
        assert e.words is not None
        for word in np.unique(e.words[rows]):
            own = np.flatnonzero(e.words == word)
            assert set(own) <= set(rows)
            pieces.add(tuple(store.tokenizer.tokens(e.tokens[own])))
    assert ("river", "##ing") in pieces
    assert ("天",) in pieces  # Chinese without a segmenter: each character is a word, and never glued to another's
    assert not any(len(p) > 1 and any(c in "".join(p) for c in "天地.") for p in pieces)
