"""didact.data.flat: what is laid end to end can be picked apart again, in any order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_tools import example

from didact.batch import Example, Labels, Prepared, empty_labels
from didact.data.lay import lay, lay_prepared
from didact.data.ragged import cuts_of, ragged
from didact.visibility import causal, permuted, prefix

LENGTHS = (7, 4, 11, 4)


def prepared(length: int, seed: int) -> Prepared:
    """Two kinds of question: three rows one by one, and groups of one and two rows."""
    rng = np.random.default_rng(seed)
    e = example(length, seed)
    rows = np.sort(rng.choice(length, 3, replace=False))
    grouped = Labels(
        "span",
        rows=np.array([0, 2, 1]),
        groups=np.array([0, 1, 3]),
        values=rng.integers(0, 2, (2, 2)),
        weights=np.array([1.0, 0.5], np.float32) if seed % 2 else None,
        name="answer",
    )
    return Prepared(e, (Labels("vocabulary", rows, e.tokens[rows], noise=rng.random(3)), grouped))


def test_a_sequence_of_parts_is_still_so_when_it_is_taken_out() -> None:
    """Whether the example came in parts or an objective cut it."""
    flat = lay([example(6, 0), example(5, 1)])
    begins = np.zeros(11, bool)
    begins[[0, 2, 6, 9]] = True
    cut = replace(flat, parts=begins)
    assert [e.parts.tolist() for e in (cut.example(0), cut.example(1))] == [[0, 2], [0, 3]]
    assert flat.example(0).parts is None
    again = lay([cut.example(0), cut.example(1)])
    assert np.array_equal(again.parts, begins)
    assert again.batch([1, 0]).inputs.packed.cu_seqlens.tolist() == [0, 3, 5, 7, 11]


def test_ragged() -> None:
    assert ragged(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ragged(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []
    assert cuts_of([2, 3]).tolist() == [0, 2, 5]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0], [3, 2, 1, 0], [1]])
def test_a_batch_is_its_sequences_in_order(order: list[int]) -> None:
    each = [prepared(n, i) for i, n in enumerate(LENGTHS)]
    batch = lay_prepared(each).batch(order)
    starts = np.concatenate([[0], np.cumsum([LENGTHS[i] for i in order])])
    assert batch.inputs.packed.cu_seqlens.tolist() == starts.tolist()
    assert batch.inputs.packed.tokens.tolist() == [t for i in order for t in each[i].inputs.tokens.tolist()]
    words, answers = batch.labels
    assert words.rows.tolist() == [r + s for i, s in zip(order, starts, strict=False) for r in each[i].labels[0].rows]
    assert torch.equal(batch.inputs.packed.tokens[words.rows], words.values)
    assert words.noise.tolist() == [u for i in order for u in each[i].labels[0].noise]
    assert answers.groups.tolist() == [0, *np.cumsum([1, 2] * len(order))]
    assert answers.values.tolist() == [v for i in order for v in each[i].labels[1].values.tolist()]
    assert answers.weights.tolist() == [w for i in order for w in ([1.0, 0.5] if i % 2 else [1.0, 1.0])]
    assert batch.counts["answer"] == sum(1.5 if i % 2 else 2.0 for i in order)


def test_prepared_gives_back_what_was_laid() -> None:
    each = [replace(prepared(n, i), hidden=np.arange(n) % 2 == 0) for i, n in enumerate(LENGTHS)]
    for was, now in zip(each, lay_prepared(each).prepared(), strict=True):
        assert was.inputs.tokens.tolist() == now.inputs.tokens.tolist()
        assert was.hidden is not None
        assert now.hidden is not None
        assert was.hidden.tolist() == now.hidden.tolist()
        for a, b in zip(was.labels, now.labels, strict=True):
            assert (a.rows.tolist(), a.values.tolist(), a.name) == (b.rows.tolist(), b.values.tolist(), b.name)


def test_lean_changes_no_batch() -> None:
    flat = lay_prepared([prepared(n, i) for i, n in enumerate(LENGTHS)])
    a, b = flat.batch([1, 2]), flat.lean().batch([1, 2])
    assert torch.equal(a.inputs.packed.tokens, b.inputs.packed.tokens)
    assert a.inputs.packed.segments is not None
    assert b.inputs.packed.segments is not None
    assert torch.equal(a.inputs.packed.segments, b.inputs.packed.segments)
    assert b.inputs.packed.segments.dtype == torch.int64


def test_one_that_asks_nothing_among_others() -> None:
    full = prepared(6, 1)
    flat = lay_prepared([Prepared(full.inputs, (empty_labels("span", "answer"),)), Prepared(full.inputs, ())])
    assert flat.batch([1, 0]).counts == {"answer": 0.0}
    mixed = lay_prepared([Prepared(full.inputs, ()), Prepared(full.inputs, full.labels[:1])])
    assert mixed.batch([0]).counts == {"vocabulary": 0.0}
    assert mixed.batch([0]).labels[0].rows.tolist() == []
    assert mixed.batch([0, 1]).labels[0].rows.tolist() == (full.labels[0].rows + 6).tolist()


def test_idle_asks_everything_of_nobody() -> None:
    flat = lay_prepared([prepared(n, i) for i, n in enumerate(LENGTHS)])
    batch = flat.idle()
    assert batch.tokens == 0
    assert batch.inputs.packed.tokens.numel() == 4  # its shortest sequence: a model has to read something
    assert [a.name for a in batch.labels] == [a.name for a in flat.batch([0]).labels]
    assert batch.counts == {"vocabulary": 0.0, "answer": 0.0}
    assert [len(a.rows) for a in batch.labels] == [0, 0]
    assert batch.labels[1].values.shape == (0, 2)


def test_every_sequence_keeps_its_own_visibility() -> None:
    e = [example(n, n) for n in (3, 4, 5)]
    rules = [prefix(torch.arange(3), 2), permuted(torch.tensor([2, 0, 1, 3])), causal()]
    batch = lay_prepared([Prepared(x, (), visibility=v) for x, v in zip(e, rules, strict=True)]).batch([2, 0])
    seen = batch.inputs.visibility.matrix(batch.inputs.packed)
    assert seen[:5, :5].tolist() == torch.ones(5, 5).tril().bool().tolist()
    assert seen[5:, 5:].tolist() == [[True, True, False], [True, True, False], [True, True, True]]
    assert not seen[:5, 5:].any()
    plain = lay_prepared([Prepared(x, (), visibility=causal()) for x in e]).batch([0, 1])
    assert plain.inputs.visibility.kind == "causal"


def test_a_decoder_side_is_packed_in_the_same_order() -> None:
    pairs = [
        Prepared(
            example(n, n),
            (Labels("vocabulary", np.array([1]), np.array([9]), side="outputs"),),
            outputs=example(m, m),
            output_visibility=causal(),
        )
        for n, m in ((5, 8), (9, 3))
    ]
    flat = lay_prepared(pairs)
    assert flat.sizes.tolist() == [8, 9]
    batch = flat.batch([1, 0])
    assert batch.outputs is not None
    assert batch.outputs.packed.lengths == [3, 8]
    assert batch.outputs.visibility.kind == "causal"
    assert batch.labels[0].rows.tolist() == [1, 4]


def test_parts_of_a_sequence_are_sequences_to_the_model() -> None:
    split = replace(example(6, 1), parts=np.array([0, 4]))
    batch = lay([split, example(3, 2)]).batch([1, 0])
    assert batch.inputs.packed.lengths == [3, 4, 2]
    assert batch.inputs.packed.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1]


def test_then_joins_what_two_objectives_ask() -> None:
    first = lay_prepared([replace(prepared(5, 1), hidden=np.arange(5) == 1)])
    second = replace(lay([example(5, 3)]), hidden=np.arange(5) == 3)
    both = first.then(second)
    assert [a.labels.name for a in both.labels] == ["vocabulary", "answer"]
    assert both.hidden is not None
    assert both.hidden.tolist() == [False, True, False, True, False]
    with pytest.raises(ValueError, match="moves rows"):
        first.then(lay([example(6, 1)]))


def test_what_cannot_be_joined_is_said() -> None:
    e = example(5, 1)
    rows = np.array([0])
    plain, grouped = Labels("span", rows, rows), Labels("span", rows, rows, groups=np.array([0, 1]))
    with pytest.raises(ValueError, match="with and without groups"):
        lay_prepared([Prepared(e, (plain,)), Prepared(e, (grouped,))])
    with pytest.raises(ValueError, match="decoder's side"):
        lay_prepared([Prepared(e, ()), Prepared(e, (), outputs=e)])


def test_nothing() -> None:
    assert len(lay([])) == 0
    assert len(lay_prepared([])) == 0
    bare = Example(np.arange(3), np.zeros(3, bool))
    assert lay([bare]).column("words") is None
    assert lay([bare]).batch([0]).inputs.packed.segments is None
