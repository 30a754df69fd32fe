"""didact.objectives.corruptions, infill and reorder: against definitions written out, and the laws of chance."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from data_tools import SENTINELS, corruptible, pieces
from scipy import stats

from didact.batch import Example
from didact.data.flat import Flat
from didact.data.lay import lay
from didact.errors import InputError
from didact.objectives import (
    Delete,
    Infill,
    Insert,
    Mask,
    PermuteSentences,
    Replace,
    Rotate,
    Segments,
    Select,
    Sentinels,
    Shuffle,
    Tokens,
    WholeWords,
)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def sequences(flat: Flat) -> list[list[int]]:
    return [part.tolist() for part in np.split(flat.tokens, flat.cuts[1:-1])]


def texts(count: int = 60) -> Flat:
    return lay([corruptible(3 + seed % 38, seed) for seed in range(count)])


def bare(length: int, copies: int, sentences: tuple[int, ...] = (0,)) -> Flat:
    e = Example(300 + np.arange(length), np.zeros(length, bool), sentences=np.array(sentences))
    return lay([e] * copies)


def chosen(flat: Flat, select: Select, rate: float, own: np.ndarray) -> list[set[int]]:
    """The tokens of each sequence that a selection hits (no token of these texts comes twice)."""
    found = select(flat, rate, own)
    return [set(flat.tokens[found.rows[found.sequences == i]].tolist()) for i in range(len(flat))]


@pytest.mark.parametrize("select", [Tokens(), WholeWords(), Segments()], ids=lambda s: s.kind)
def test_masked_replaced_deleted_and_marked_are_what_they_say(select: Select) -> None:
    flat, own, known = texts(), keys(60), pieces()
    hit = chosen(flat, select, 0.3, own)
    before = sequences(flat)
    done = {cls.kind: sequences(cls(0.3, select)(flat, known, own)) for cls in (Mask, Replace, Delete, Sentinels)}
    for i, text in enumerate(before):
        assert done["mask"][i] == [4 if t in hit[i] else t for t in text]
        assert done["delete"][i] == [t for t in text if t not in hit[i]]
        assert [t for t in done["replace"][i] if t >= 300] == [t for t in text if t not in hit[i] and t >= 300]
        assert len(done["replace"][i]) == len(text)
        assert done["sentinels"][i] == marked(text, hit[i])


def marked(text: list[int], hit: set[int]) -> list[int]:
    """Each run becomes a sentinel; special tokens (2, 3) neither begin nor end one."""
    out: list[int] = []
    used, inside = 0, False
    for token in text:
        if token in (2, 3):
            out.append(token)
        elif token not in hit:
            out.append(token)
            inside = False
        elif not inside:
            out.append(SENTINELS[used])
            used, inside = used + 1, True
    return out


def test_replaced_tokens_are_drawn_from_all_but_the_special_ones() -> None:
    flat = bare(20, 3000)
    drawn = Counter(Replace(0.5)(flat, pieces(), keys(3000)).tokens.tolist())
    words = [drawn[i] for i in range(5, 200)]
    assert not any(drawn[i] for i in (0, 1, 2, 3, 4, *SENTINELS))
    assert stats.chisquare(words).pvalue > 1e-4


def test_shares_of_what_becomes_of_the_masked() -> None:
    flat = bare(40, 2000)
    after = Mask(0.5, random=0.2, kept=0.3)(flat, pieces(), keys(2000))
    masks, same = (after.tokens == 4).mean(), (after.tokens == flat.tokens).mean()
    assert masks == pytest.approx(0.25, abs=0.01)
    assert same == pytest.approx(0.5 + 0.15, abs=0.01)


def test_more_runs_than_sentinels() -> None:
    few = pieces().__class__(4, 300, (0, 1, 2, 3, 4), SENTINELS[:3])
    with pytest.raises(InputError, match=r"4 hidden spans.*at most 3"):
        Sentinels(0.5, Segments(1.0))(bare(8, 1), few, keys(1))
    with pytest.raises(InputError, match=r"50 spans in a sequence of 100 tokens.*3 sentinels.*--sentinels 50"):
        Sentinels(0.5, Segments(1.0)).rows(100, few)


@pytest.mark.parametrize("random", [0.0, 0.25, 1.0])
def test_inserted_tokens_are_added_and_no_more(random: float) -> None:
    flat = texts(400)
    after = Insert(0.3, random)(flat, pieces(), keys(400))
    budget = 0.3 * np.array([sum(t >= 300 for t in text) for text in sequences(flat)])
    more = []
    for text, now in zip(sequences(flat), sequences(after), strict=True):
        new = iter(now)
        assert all(token in new for token in text), "the text is still there, in its order"
        assert now[0] == 2
        assert now[-1] == 3
        more.append(len(now) - len(text))
    assert (np.array(more) >= np.maximum(np.floor(budget), 1)).all()
    assert (np.array(more) <= np.floor(budget) + 1).all()
    assert after.moved is not None
    put = after.tokens[after.moved.put]
    assert (put != 4).mean() == pytest.approx(random, abs=0.06)


def test_every_place_to_insert_is_as_likely() -> None:
    flat = bare(4, 10_000)  # one token into four: five places
    after = Insert(0.25, 0.0)(flat, pieces(), keys(10_000))
    where = np.array([text.index(4) for text in sequences(after)])
    assert np.bincount(where, minlength=5) / 10_000 == pytest.approx(0.2, abs=0.02)


def missing(text: list[int], now: list[int]) -> list[list[int]]:
    """What stands in `text` where each mask does, no token coming twice and no two masks side by side."""
    at = {token: i for i, token in enumerate(text)}
    around = [-1, *(at[t] if t >= 300 else None for t in now), len(text)]
    return [text[a + 1 : b] for a, mask, b in zip(around, around[1:], around[2:], strict=False) if mask is None]


@pytest.mark.parametrize("mean", [3.0, 1.0])
def test_infilled_spans_are_of_poisson_length_and_meet_the_budget(mean: float) -> None:
    flat = bare(2000, 40)
    after = Infill(0.2, mean)(flat, pieces(), keys(40))
    lengths: Counter[int] = Counter()
    for text, now in zip(sequences(flat), sequences(after), strict=True):
        spans = missing(text, now)
        assert sum(map(len, spans)) == 400
        assert now.count(4) == len(spans)
        assert not any(a == b == 4 for a, b in pairwise(now)), "spans apart"
        lengths.update(map(len, spans))
    total = lengths.total()
    found = np.array([lengths[k] for k in range(8)]) / total
    assert found == pytest.approx(stats.poisson.pmf(np.arange(8), mean), abs=4 * np.sqrt(0.25 / total))
    assert lengths[0] > 0


def test_every_token_is_as_likely_to_be_infilled() -> None:
    """But for those at the ends of a text, into which fewer spans can reach."""
    flat = bare(100, 3000)
    after = Infill(0.3)(flat, pieces(), keys(3000))
    gone = 1 - np.bincount(after.tokens, minlength=400)[300:] / 3000
    assert gone.mean() == pytest.approx(0.3, abs=1e-9)
    assert gone[5:-5] == pytest.approx(0.31, abs=0.04)
    assert gone[:3].mean() == pytest.approx(gone[-3:].mean(), abs=0.03)


@pytest.mark.parametrize(("rate", "mean"), [(0.05, 0.1), (0.9, 0.2), (1.0, 3.0), (0.99, 1.0)])
def test_infilling_never_makes_a_text_longer(rate: float, mean: float) -> None:
    flat = texts()
    after = Infill(rate, mean)(flat, pieces(), keys(60))
    assert (after.lengths <= flat.lengths).all()
    for text, now in zip(sequences(flat), sequences(after), strict=True):
        left = sum(t >= 300 for t in now) / max(sum(t >= 300 for t in text), 1)
        assert left <= 1 - rate + 1 / max(len(text) - 3, 1)


def test_infilling_whole_words() -> None:
    flat = texts(200)
    after = Infill(0.3, words=True)(flat, pieces(), keys(200))
    words, shares = flat.column("words"), []
    assert words is not None
    for i, (text, now) in enumerate(zip(sequences(flat), sequences(after), strict=True)):
        own = words[flat.cuts[i] : flat.cuts[i + 1]]
        gone = {w for w, t in zip(own, text, strict=True) if t >= 300 and t not in now}
        assert not any(t in now for w, t in zip(own, text, strict=True) if w in gone)
        shares.append(len(gone) / len(set(own.tolist()) - {-1}))
    assert np.mean(shares) == pytest.approx(0.3, abs=0.06)  # at least one of a short text


def test_a_random_token_instead_of_a_mask() -> None:
    after = Infill(0.3, random=0.5)(bare(400, 50), pieces(), keys(50))
    assert after.moved is not None
    assert (after.tokens[after.moved.put] == 4).mean() == pytest.approx(0.5, abs=0.06)


def test_all_orders_of_sentences_are_as_likely() -> None:
    flat = bare(6, 6000, sentences=(0, 1, 3))  # "a", "bc", "def"
    found = Counter(map(tuple, sequences(PermuteSentences()(flat, pieces(), keys(6000)))))
    a, b, c = [300], [301, 302], [303, 304, 305]
    orders = [[*x, *y, *z] for x, y, z in ((a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a))]
    assert set(found) == set(map(tuple, orders))
    assert np.array(list(found.values())) == pytest.approx(1000, abs=130)


def test_a_share_of_the_sentences_change_places() -> None:
    """Half of four, so two of them, change places half of the time."""
    flat = bare(4, 6000, sentences=(0, 1, 2, 3))
    apart = Counter(
        sum(a != b for a, b in zip(now, range(300, 304), strict=True))
        for now in sequences(PermuteSentences(0.5)(flat, pieces(), keys(6000)))
    )
    assert set(apart) == {0, 2}
    assert apart[2] / 6000 == pytest.approx(0.5, abs=0.03)


def test_sentences_stay_in_their_document() -> None:
    flat = lay([corruptible(40, seed) for seed in range(50)])
    after = PermuteSentences()(flat, pieces(), keys(50))
    moved = 0
    for i, (text, now) in enumerate(zip(sequences(flat), sequences(after), strict=True)):
        starts = flat.examples[i].sentences
        assert starts is not None
        borders = sorted({1, 20, 21, 39, *starts.tolist()} - {0})
        pieces_of = [text[a:b] for a, b in pairwise(borders)]
        assert [now[0], now[20], now[39]] == [2, 3, 3]
        for begin, end in ((1, 20), (21, 39)):
            own = [p for p, (a, _) in zip(pieces_of, pairwise(borders), strict=True) if begin <= a < end]
            rest = now[begin:end]
            while rest:  # taken apart into those sentences, each once
                (first,) = [p for p in own if p == rest[: len(p)]]
                own.remove(first)
                rest = rest[len(first) :]
            assert not own
        moved += text != now
    assert moved > 40


def test_sentences_must_be_known() -> None:
    flat = lay([Example(np.arange(5), np.zeros(5, bool))])
    with pytest.raises(ValueError, match="`sentences` are known"):
        PermuteSentences()(flat, pieces(), keys(1))


def test_every_rotation_is_as_likely() -> None:
    flat = bare(5, 5000)
    found = Counter(map(tuple, sequences(Rotate()(flat, pieces(), keys(5000)))))
    text = list(range(300, 305))
    assert set(found) == {tuple(text[k:] + text[:k]) for k in range(5)}
    assert np.array(list(found.values())) == pytest.approx(1000, abs=130)
    some = Rotate(0.25)(flat, pieces(), keys(5000))
    assert np.mean([now == text for now in sequences(some)]) == pytest.approx(0.75 + 0.05, abs=0.025)


def test_all_orders_of_tokens_are_as_likely() -> None:
    found = Counter(map(tuple, sequences(Shuffle()(bare(4, 12_000), pieces(), keys(12_000)))))
    assert len(found) == 24
    assert np.array(list(found.values())) == pytest.approx(500, abs=95)


def test_wrong_shares() -> None:
    for cls in (Mask, Replace, Delete, Insert, Infill, Sentinels):
        with pytest.raises(ValueError, match="rate 1"):
            cls(rate=1.5)
    for cls in (PermuteSentences, Rotate, Shuffle):
        with pytest.raises(ValueError, match="share -1"):
            cls(share=-1)
    with pytest.raises(ValueError, match="mean 0"):
        Infill(mean=0)
    for shares in ({"random": float("nan")}, {"kept": -0.1}, {"random": 0.6, "kept": 0.6}):
        with pytest.raises(ValueError, match=r"random .* and kept .* are shares of one whole"):
            Mask(**shares)
