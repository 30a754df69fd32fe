"""The sequence-to-sequence objectives against their definitions written out: what is read on either side, and asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from data_tools import SENTINELS, corruptible, pieces

from didact.batch import Example, Prepared
from didact.data.lay import lay, lay_prepared
from didact.data.packing import collate
from didact.errors import InputError
from didact.objectives import (
    Delete,
    Denoised,
    Fragment,
    Infill,
    Insert,
    Mask,
    Mass,
    Mixed,
    Objective,
    PrefixLM,
    Segments,
    SpanCorruption,
    Suffix,
    Tokens,
    from_json,
    to_json,
    ul2,
)

START, END = 1, 3
TEXTS = [corruptible(2 + seed % 40, seed) for seed in range(80)]
SPANS = SpanCorruption(SENTINELS, START, END)
DENOISED = Denoised(4, 300, (0, 1, 2, 3, 4), START, SENTINELS)
MASS = Mass(4, 300, (0, 1, 2, 3, 4), START)
EVERY: tuple[Objective, ...] = (
    DENOISED,
    replace(DENOISED, corruptions=(Delete(0.3), Insert(0.2), Infill(0.2))),
    replace(DENOISED, corruptions=()),
    SPANS,
    replace(SPANS, rate=0.4, select=Tokens(), closing=True),
    replace(SPANS, select=Suffix(), sentinels_shown=False),
    MASS,
    ul2(SENTINELS, START, END, {"R": 297, "S": 298, "X": 299}),
)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def prepared(objective: Objective, examples: list[Example] = TEXTS, seed: int = 0) -> list[Prepared]:
    return objective(examples, keys(len(examples), seed)).prepared()


def reads(p: Prepared) -> list[int]:
    assert p.outputs is not None
    return p.outputs.tokens.tolist()


def target(p: Prepared) -> list[int]:
    """What is asked, whatever it is called: every row of the decoder once, in order."""
    (asked,) = [labels for labels in p.labels if len(labels.rows)] or p.labels[:1]
    assert asked.side == "outputs"
    assert asked.rows.tolist() == list(range(len(reads(p))))
    return asked.values.tolist()


@pytest.mark.parametrize("objective", EVERY, ids=lambda o: o.kind)
def test_a_decoder_reads_what_it_is_asked_one_row_later(objective: Objective) -> None:
    for e, p in zip(TEXTS, prepared(objective), strict=True):
        assert p.output_visibility.kind == "causal"
        if objective.kind != "mass":
            assert reads(p) == [START, *target(p)[:-1]]
        assert p.hidden is not None
        assert len(p.hidden) == len(e)
        left = set(p.inputs.tokens.tolist())
        assert all((t in left) != gone for t, gone in zip(e.tokens, p.hidden, strict=True) if t >= 300)
        most = max(len(p.inputs), len(reads(p)))
        assert most <= max(objective.rows_of(len(e)), 2)


@pytest.mark.parametrize("objective", EVERY, ids=lambda o: o.kind)
def test_a_pack_of_them_is_its_sequences(objective: Objective) -> None:
    """Whether laid in columns or one by one; positions and sides included."""
    flat = objective(TEXTS, keys(len(TEXTS)))
    one_by_one = flat.prepared()
    order = [5, 0, 41, 17]
    batch, lean, again = (
        flat.batch(order),
        flat.lean().batch(order),
        lay_prepared([one_by_one[i] for i in order]).batch(range(4)),
    )
    assert batch.outputs is not None
    for other in (lean, again):
        assert other.outputs is not None
        for a, b in ((batch.inputs, other.inputs), (batch.outputs, other.outputs)):
            assert torch.equal(a.packed.tokens, b.packed.tokens)
            assert torch.equal(a.packed.positions, b.packed.positions)
            assert torch.equal(a.packed.cu_seqlens, b.packed.cu_seqlens)
        counts = {name: count for name, count in other.counts.items() if count}
        assert counts == {name: count for name, count in batch.counts.items() if count}
    assert batch.outputs.packed.max_seqlen > int(batch.outputs.packed.positions.max())
    assert batch.tokens == len(batch.inputs.packed.tokens)


@pytest.mark.parametrize("objective", EVERY, ids=lambda o: o.kind)
def test_an_example_is_prepared_alike_in_any_company(objective: Objective) -> None:
    own = keys(len(TEXTS))
    together = objective(TEXTS, own).prepared()
    for i in (0, 3, 24, 61):
        (alone,) = objective([TEXTS[i]], own[i : i + 1]).prepared()
        assert alone.inputs.tokens.tolist() == together[i].inputs.tokens.tolist()
        assert reads(alone) == reads(together[i])
        assert target(alone) == target(together[i])
    assert from_json(to_json(objective)) == objective


def test_bart_reads_a_corrupted_text_and_writes_it() -> None:
    changed = 0
    for e, p in zip(TEXTS, prepared(DENOISED), strict=True):
        assert target(p) == e.tokens.tolist()
        changed += p.inputs.tokens.tolist() != e.tokens.tolist()
    assert changed > 70
    plain = prepared(replace(DENOISED, corruptions=()))
    assert all(p.inputs.tokens.tolist() == e.tokens.tolist() for e, p in zip(TEXTS, plain, strict=True))


def test_corruptions_in_their_order_with_keys_of_their_own() -> None:
    """Two of a kind do not hit the same tokens, and the second leaves what the first wrote."""
    twice = replace(DENOISED, corruptions=(Mask(0.3), Mask(0.3)))
    long = [corruptible(400, seed) for seed in range(20)]
    share = np.mean([(p.inputs.tokens == 4).sum() / 397 for p in prepared(twice, long)])
    assert share == pytest.approx(0.3 + 0.3 * 0.7, abs=0.01)


def spelled(e: Example, p: Prepared, closing: bool) -> tuple[list[int], list[int]]:
    """Inputs and target as T5's noise_span_to_unique_sentinel and nonnoise_span_to_unique_sentinel have them, of the
    tokens that were hidden; the end apart.
    """
    assert p.hidden is not None
    words = [(t, h) for t, h, s in zip(e.tokens.tolist(), p.hidden, e.special, strict=True) if not s]
    inputs: list[int] = []
    wanted: list[int] = []
    number = 0
    for hidden, run in groupby(words, key=lambda pair: pair[1]):
        tokens = [t for t, _ in run]
        if hidden:
            inputs.append(SENTINELS[number])
            wanted += [SENTINELS[number], *tokens]
            number += 1
        else:
            inputs += tokens
    return inputs, wanted + [SENTINELS[number]] * closing


@pytest.mark.parametrize(
    ("rate", "select", "closing"),
    [(0.15, Segments(), False), (0.5, Segments(8.0), True), (0.15, Tokens(), False), (0.5, Tokens(), True)],
    ids=str,
)
def test_spans_are_marked_and_spelled_as_published(rate: float, select: object, closing: bool) -> None:
    objective = replace(SPANS, rate=rate, select=select, closing=closing)
    for e, p in zip(TEXTS, prepared(objective), strict=True):
        inputs, wanted = spelled(e, p, closing)
        assert target(p) == [*wanted, END]
        assert [t for t in p.inputs.tokens.tolist() if t not in (2, 3)] == inputs
        assert Counter(p.inputs.tokens.tolist())[3] == Counter(e.tokens.tolist())[3]


def test_without_sentinels_what_is_missing_is_written() -> None:
    for e, p in zip(TEXTS, prepared(replace(SPANS, rate=0.3, sentinels_shown=False)), strict=True):
        assert p.hidden is not None
        assert target(p) == [*e.tokens[p.hidden].tolist(), END]
        assert p.inputs.tokens.tolist() == e.tokens[~p.hidden].tolist()
    with pytest.raises(ValueError, match="closing"):
        replace(SPANS, sentinels_shown=False, closing=True)


def test_too_few_sentinels_are_refused_before_anything_is_prepared() -> None:
    few = replace(SPANS, sentinels=SENTINELS[:20])
    assert few.rows_of(400) == 400  # 60 hidden in 20 spans
    with pytest.raises(InputError, match=r"26 spans in a sequence of 512 tokens.*has 20 sentinels.*--sentinels 26"):
        few.rows_of(512)
    with pytest.raises(InputError, match="20 sentinels"):
        replace(few, select=Tokens()).rows_of(400)
    with pytest.raises(InputError, match="21 spans"):
        replace(few, closing=True).rows_of(400)
    assert SPANS.at_rate(0.9).rows_of(100) > 100  # more is written than read


def test_mass_reads_the_token_before_at_the_place_of_the_one_asked() -> None:
    kept = asked = 0
    for e, p in zip(TEXTS, prepared(MASS), strict=True):
        words = (~e.special).nonzero()[0]
        (labels,) = p.labels
        assert p.outputs is not None
        if not len(words):
            assert len(p.outputs) == 0
            continue
        places = p.outputs.positions
        assert places is not None
        begin = words.tolist().index(places[0])
        assert places.tolist() == words[begin : begin + len(places)].tolist(), "one run of tokens"
        assert abs(len(places) - len(words) / 2) <= 1
        assert labels.values.tolist() == e.tokens[places].tolist()
        assert p.outputs.tokens.tolist() == e.tokens[places - 1].tolist()
        outside = np.setdiff1d(np.arange(len(e)), places)
        assert p.inputs.tokens[outside].tolist() == e.tokens[outside].tolist()
        kept += (p.inputs.tokens[places] == e.tokens[places]).sum()
        asked += len(places)
    assert kept / asked == pytest.approx(0.1, abs=0.04)


def test_mass_begins_with_the_start_where_nothing_is_before() -> None:
    bare = Example(np.arange(10, 16), np.zeros(6, bool))
    (p,) = Mass(4, 300, (4,), START, 1.0, Fragment(0.5))([bare], keys(1)).prepared()
    assert reads(p) == [START, 10, 11, 12, 13, 14]
    assert p.labels[0].values.tolist() == list(range(10, 16))


def test_a_prefix_sees_itself_and_what_follows_it_looks_back() -> None:
    lengths = Counter()
    e = corruptible(6)
    for p in prepared(PrefixLM(), [e] * 3000):
        (labels,) = p.labels
        n = 6 - len(labels.rows)
        lengths[n] += 1
        assert labels.rows.tolist() == list(range(n - 1, 5))
        assert labels.values.tolist() == e.tokens[n:].tolist()
        side = collate([p]).inputs
        wanted = np.tri(6, dtype=bool) | (np.arange(6) < n)[None, :]
        assert side.visibility.matrix(side.packed).tolist() == wanted.tolist()
    assert sorted(lengths) == [1, 2, 3, 4, 5]
    assert np.array(list(lengths.values())) / 3000 == pytest.approx(0.2, abs=0.035)


def test_documents_of_a_sequence_have_prefixes_of_their_own() -> None:
    """Each is read as it would be alone but for its draw; where the next one begins is asked of its last row."""
    e = replace(corruptible(12), targets={"documents": np.array([5])})
    lengths = set()
    for p in prepared(PrefixLM(), [e] * 300):
        side = collate([p]).inputs
        assert side.packed.cu_seqlens.tolist() == [0, 5, 12]
        assert side.packed.positions.tolist() == [*range(5), *range(7)]
        (labels,) = p.labels
        asked = [row + 1 for row in labels.rows.tolist()]  # the tokens
        assert labels.values.tolist() == e.tokens[asked].tolist()
        assert 5 in asked
        assert 0 not in asked
        seen = side.visibility.matrix(side.packed).numpy()
        assert not seen[:5, 5:].any()
        assert not seen[5:, :5].any()
        for begin, end in ((0, 5), (5, 12)):
            n = sum(row not in asked or row == begin for row in range(begin, end))
            lengths.add((begin, n))
            wanted = np.tri(end - begin, dtype=bool) | (np.arange(end - begin) < n)[None, :]
            assert seen[begin:end, begin:end].tolist() == wanted.tolist()
    assert lengths == {(0, n) for n in range(1, 5)} | {(5, n) for n in range(1, 7)}


def test_ul2_is_seven_denoisers_of_three_modes() -> None:
    objective = EVERY[-1]
    assert isinstance(objective, Mixed)
    assert objective.names == ("r", "s", "x")
    assert dict(objective.weights) == pytest.approx({"r": 2 / 7, "s": 1 / 7, "x": 4 / 7})
    found = Counter()
    for e, p in zip(TEXTS * 40, prepared(objective, TEXTS * 40), strict=True):
        (asked,) = [labels for labels in p.labels if len(labels.rows)]
        found[asked.name] += 1
        assert p.inputs.tokens[0] == {"r": 297, "s": 298, "x": 299}[asked.name]
        inputs, wanted = spelled(e, p, False)
        assert [t for t in p.inputs.tokens[1:].tolist() if t not in (2, 3)] == inputs
        assert asked.values.tolist() == [*wanted, END]
        count = int((~e.special).sum())
        if asked.name == "s" and count > 1:
            assert p.hidden is not None
            assert p.hidden.sum() == min(max(round(count / 4), 1), count - 1)
            assert sum(t in SENTINELS for t in inputs) == 1
    share = np.array([found[name] for name in objective.names]) / 3200
    assert share == pytest.approx(np.array([2, 1, 4]) / 7, abs=0.03)


def test_each_name_of_a_mixture_is_its_part_alone() -> None:
    """What an example meets is what its part makes of it, whatever the others are."""
    parts = (SPANS, DENOISED, MASS)
    mixture = Mixed(parts, shares=(1.0, 2.0, 1.0), modes=(None, 299, None))
    own = keys(len(TEXTS))
    met = Counter()
    for p in mixture(TEXTS, own).prepared():
        (asked,) = [labels for labels in p.labels if len(labels.rows)] or [None]
        if asked is None:
            continue
        met[asked.name] += 1
        assert (p.inputs.tokens[0] == 299) == (asked.name == "denoised")
        assert p.outputs is not None
        assert (p.outputs.positions is not None and p.outputs.positions.tolist() != list(range(len(p.outputs)))) in (
            (asked.name == "mass"),
            False,
        )
    assert met["denoised"] > met["spans"] > 5
    assert mixture.rows_of(30) == 31
    assert mixture.beginning(9).parts[0] == replace(SPANS, start=9)
    flat = mixture(TEXTS, own)
    source_bytes = sum(a.source_bytes.sum() for a in flat.labels if a.source_bytes is not None)
    assert source_bytes > 0


def test_what_does_not_go_into_a_mixture() -> None:
    for parts, shares in (
        ((PrefixLM(),), None),
        ((), None),
        ((SPANS,), (1.0, 2.0)),
        ((SPANS,), (0.0,)),
        ((SPANS,), (float("nan"),)),
    ):
        with pytest.raises(ValueError, match=r"decoder|shares"):
            Mixed(parts, shares)
    with pytest.raises(ValueError, match="two different heads"):
        Mixed((SPANS, replace(DENOISED, smoothing=0.1)))


def test_an_objective_that_corrupts_stands_alone() -> None:
    flat = lay(TEXTS)
    asked = PrefixLM().ask(flat, keys(len(TEXTS)))
    with pytest.raises(ValueError, match="must come before"):
        Delete()(asked, pieces(), keys(len(TEXTS)))
