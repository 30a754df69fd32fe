"""Corruptions: special tokens stay, every row that was not written is a row of the text, what becomes of a text depends
on it and its own key, and all of them follow each other.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from data_tools import corruptible, pieces, selections

from didact.data.flat import Flat
from didact.data.lay import lay
from didact.objectives import CORRUPTIONS, Corruption, Delete, Denoised, Insert, Mask, PMISpans, from_json, to_json
from didact.objectives.corruption import Pieces
from didact.randomness import words

CASES: tuple[Corruption, ...] = (
    *(cls() for cls in CORRUPTIONS),
    *(Mask(0.4, select) for select in selections()),
    *(Delete(0.3, select) for select in selections() if not isinstance(select, PMISpans)),
    Mask(0.5, random=0.2, kept=0.3),
    Insert(1.0, random=1.0),
    *(cls(share=0.4) for cls in CORRUPTIONS if cls.kind in ("permute_sentences", "rotate", "shuffle")),
)
EVERY = pytest.mark.parametrize("corruption", CASES, ids=lambda c: c.kind)
LENGTHS = (2, 3, 4, 5, 8, 13, 24, 40)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def many(copies: int = 6) -> Flat:
    return lay([corruptible(n, seed) for seed in range(copies) for n in LENGTHS])


def check(before: Flat, after: Flat, known: Pieces) -> None:
    """What must hold of any text and what became of it."""
    assert after.moved is not None
    rows, put = after.moved.rows, after.moved.put
    assert np.array_equal(after.tokens[~put], before.tokens[rows[~put]])
    sequence = np.arange(len(after)).repeat(after.lengths)
    assert np.array_equal(sequence, before.cuts.searchsorted(rows, "right") - 1), "rows of another sequence"
    written = after.tokens[put]
    allowed = {known.mask_id, *known.sentinels, *range(known.vocabulary)} - {i for i in known.specials if i < 4}
    assert set(written.tolist()) <= allowed
    special = before.column("special")
    assert special is not None
    kept = rows[~put]
    assert kept[special[kept]].tolist() == special.nonzero()[0].tolist(), "special tokens, in their order"
    assert len(np.unique(kept)) == len(kept), "a row twice"
    assert np.array_equal(after.column("special"), special[rows] | put)
    for i in range(len(after)):
        e = after.example(i)
        assert len(e) == after.lengths[i]
        assert len(e.special) == len(e)


@EVERY
def test_special_tokens_stay_and_rows_are_known(corruption: Corruption) -> None:
    before, known = many(), pieces()
    after = corruption(before, known, keys(len(before)))
    check(before, after, known)
    most = [corruption.rows(int(n), known) for n in before.lengths]
    assert (after.lengths <= most).all()


@EVERY
def test_it_depends_on_its_own_key_and_text_alone(corruption: Corruption) -> None:
    before, own = many(2), keys(len(many(2)))
    copy = before.tokens.copy()
    together = corruption(before, pieces(), own)
    assert np.array_equal(before.tokens, copy)
    for i in range(len(before)):
        alone = corruption(lay([before.example(i)]), pieces(), own[i : i + 1])
        assert alone.tokens.tolist() == together.tokens[together.cuts[i] : together.cuts[i + 1]].tolist()
    other = corruption(before, pieces(), keys(len(before), 1))
    assert other.tokens.tolist() != together.tokens.tolist() or corruption.kind == "sentinels"


@pytest.mark.parametrize(("first", "second"), list(product(CORRUPTIONS, CORRUPTIONS)), ids=lambda c: c.kind)
def test_each_follows_each(first: type[Corruption], second: type[Corruption]) -> None:
    before, known = many(3), pieces()
    own = keys(len(before))
    once = first()(before, known, own)
    twice = second()(once, known, words(own, 1))
    check(before, twice, known)
    assert once.moved is not None
    assert twice.moved is not None
    if second.kind in ("permute_sentences", "rotate", "shuffle"):
        assert sorted(twice.tokens) == sorted(once.tokens)
    else:  # what the first wrote is still there, in its order
        written, left = once.tokens[once.moved.put].tolist(), iter(twice.tokens[twice.moved.put].tolist())
        assert all(token in left for token in written)


@EVERY
def test_texts_without_anything_to_corrupt(corruption: Corruption) -> None:
    before = lay([corruptible(2, 0), corruptible(2, 1)])
    after = corruption(before, pieces(), keys(2))
    assert after.tokens.tolist() == before.tokens.tolist()
    assert len(corruption(lay([corruptible(9, 0)] * 0), pieces(), keys(0)).tokens) == 0


@EVERY
def test_they_go_to_json_and_back(corruption: Corruption) -> None:
    objective = Denoised(4, 90, (0, 1, 2, 3, 4), 2, corruptions=(corruption,))
    assert from_json(to_json(objective)) == objective
