"""The next token: which rows are asked for which tokens, and which documents see each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from data_tools import example, small_store
from training_tools import model

from didact.batch import Example
from didact.data.documents import FullSentences
from didact.data.packing import collate
from didact.objectives import Causal
from didact.randomness import generator, keys

END = 7


def texts(*lengths: int, documents: tuple[int, ...] = ()) -> list[Example]:
    """Sequences of numbered tokens; the first holds several documents, separated at those rows."""
    made = []
    for i, n in enumerate(lengths):
        tokens = 100 * i + 10 + np.arange(n)
        targets = {"documents": np.array(documents)} if documents and i == 0 else {}
        if targets:
            tokens[list(documents)] = END
        made.append(Example(tokens, tokens == END, source_bytes=np.where(tokens == END, 0, 2), targets=targets))
    return made


def test_every_row_is_asked_what_comes_next() -> None:
    flat = Causal()(texts(4, 1, 3), keys(0, each=np.arange(3)))
    batch = flat.batch([0, 1, 2])
    (asked,) = batch.labels
    assert asked.rows.tolist() == [0, 1, 2, 5, 6]
    assert asked.values.tolist() == [11, 12, 13, 211, 212]
    assert asked.covered == 10
    assert batch.inputs.visibility.kind == "causal"
    assert flat.hidden is not None
    assert flat.hidden.tolist() == [False, True, True, True, False, False, True, True]


def test_documents_of_one_sequence_do_not_see_each_other() -> None:
    """The separator is asked of the row before it, and begins the next document; positions begin there."""
    flat = Causal()(texts(7, 2, documents=(2, 5)), keys(0, each=np.arange(2)))
    batch = flat.batch([1, 0])
    packed = batch.inputs.packed
    assert packed.cu_seqlens.tolist() == [0, 2, 4, 7, 9]
    assert packed.positions.tolist() == [0, 1, 0, 1, 0, 1, 2, 0, 1]
    (asked,) = batch.labels
    assert asked.rows.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert asked.values.tolist() == [111, 11, END, 13, 14, END, 16]
    one = Causal().prepare(texts(7, documents=(2, 5))[0], generator(0))
    assert collate([one]).inputs.packed.cu_seqlens.tolist() == [0, 2, 5, 7]


def test_no_row_sees_ahead() -> None:
    """Whatever stands after a row, the whole of its answer is the same."""
    net = model(Causal()).eval()
    before = Causal().prepare(example(12, 0, 16), generator(0))
    for cut in range(1, 11):  # the last row is asked nothing
        tokens = before.inputs.tokens.copy()
        tokens[cut:] = 4 + (tokens[cut:] + 3) % 12
        after = Causal().prepare(Example(tokens, before.inputs.special, before.inputs.segments), generator(0))
        a, b = (net(collate([one]))[0] for one in (before, after))
        assert torch.equal(a[:cut], b[:cut])
        assert not torch.equal(a, b)


def test_documents_of_a_store(tmp_path: Path) -> None:
    """Full sentences run on into the next document: there a separator begins a part of its own."""
    store = small_store(tmp_path)
    source = FullSentences(store, 64)
    made = [source(i, generator(i)) for i in range(len(source))]
    flat = Causal()(made, keys(0, each=np.arange(len(made))))
    assert flat.parts is not None
    several = 0
    for i, e in enumerate(made):
        begins = np.flatnonzero(flat.parts[flat.cuts[i] : flat.cuts[i + 1]])
        assert begins[0] == 0
        assert (e.tokens[begins[1:]] == store.tokenizer.sep).all()
        inner = np.flatnonzero(e.tokens == store.tokenizer.sep)[:-1]
        assert begins[1:].tolist() == inner.tolist()
        several += len(begins) > 1
    assert several > 5


def test_sequences_of_one_token_ask_nothing() -> None:
    flat = Causal()([Example(np.array([5]), np.zeros(1, bool))], keys(0, each=np.arange(1)))
    assert flat.batch([0]).counts == {"clm": 0.0}
    assert len(Causal()([], keys(0, each=np.arange(0)))) == 0
