"""No leak: replacing the original of a hidden token by any other changes no logit of the row asked for it, nor of any
that its row has no way to; where the token is hidden by being replaced, no logit at all. What is not hidden and yet
asked (the kept tokens) is declared so; special tokens are never hidden.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from data_tools import example, selections
from torch import Tensor
from training_tools import MADE, SENTINELS, SEP, SPECIALS, VOCABULARY, denoised, masked, replaced, step_of

from didact.batch import Batch, Example, Prepared, Side
from didact.config import ModelConfig
from didact.data.packing import collate
from didact.nn.cores import entry
from didact.objectives import (
    CORRUPTIONS,
    OBJECTIVES,
    Combined,
    Delete,
    Forced,
    NextSentence,
    Objective,
    Permuted,
    SpanCorruption,
    Spans,
    Suffix,
    Tokens,
)
from didact.randomness import generator
from didact.visibility import Visibility, bidirectional, causal, right_to_left


def beside_each_other() -> list[Objective]:
    """Every two objectives that can stand side by side, in both orders."""
    found = []
    for one, other in itertools.permutations(MADE, 2):
        try:
            both = Combined((one, other))
            _ = both.visibility, both.relation
        except ValueError:
            continue
        if not isinstance(one, Combined) and not isinstance(other, Combined) and one.decoder == other.decoder:
            found.append(both)
    return found


CASES: tuple[Objective, ...] = (
    *MADE,
    *beside_each_other(),
    *(masked(select=select, rate=0.4) for select in selections()),
    masked(rate=0.5, mask=0.0, random=1.0),
    Combined((NextSentence(), masked(rate=0.3), masked(rate=0.3, name="again"))),
    replaced(rate=0.4, mask=1.0, select=Spans()),
    replaced(rate=0.4, control=True),
    *(Permuted(rate=0.4, select=select) for select in selections()),
    Permuted(rate=1.0),
    Permuted(segments=3, memory=5),
    Combined((Permuted(), NextSentence())),
    denoised(corruptions=(Delete(0.4),)),
    denoised(corruptions=tuple(cls() for cls in CORRUPTIONS)),
    SpanCorruption(SENTINELS, SEP, SEP, rate=0.4, select=Tokens(), closing=True),
    SpanCorruption(SENTINELS, SEP, SEP, select=Suffix(), sentinels_shown=False),
)
EVERY = pytest.mark.parametrize("objective", CASES, ids=range(len(CASES)))
FIRST = len(SPECIALS)
SIDE = {"main": 1, "forward": 1, "backward": -1}  # where the neighbour is that a row is asked for, if it is
ABOUT_TOKENS = ("vocabulary", "replaced")  # heads whose right answer is about the token that stood there


def test_all_objectives_are_here() -> None:
    assert {type(case) for case in CASES} == set(OBJECTIVES)


def one(seed: int) -> Example:
    return replace(example(24, seed, VOCABULARY, relation=seed % 2), source_bytes=None)


def prepared(objective: Objective, e: Example, seed: int) -> Prepared:
    return objective.prepare(e, generator(seed, 1))


def place_asked(made: Prepared, row: int) -> int:
    """The row of the example that a row of the pack stands for: itself, or the one that a query row is about."""
    return row if made.queries is None or row < len(made.inputs) else int(made.queries[row - len(made.inputs)])


def rule(batch: Batch, config: ModelConfig, stream: str) -> Visibility:
    """Who sees whom in a stream, which has a rule of its own, or else goes by the batch's, or else by the model's."""
    positions = batch.inputs.packed.positions
    of_its_own = {"causal": causal(), "right to left": right_to_left(positions), "bidirectional": bidirectional()}
    name = entry(config.core).streams[stream]
    return batch.inputs.visibility.unless_said(config.visibility) if name is None else of_its_own[name]


def led(side: Side, rule: Visibility, rows: list[int], layers: int) -> Tensor:
    """(T,) bool: the rows of a pack to which a way of allowed steps leads from these: up to `layers` steps, each to
    a row that sees it, or to the next layer of itself, or out of a memory.
    """
    packed = side.packed
    seen = rule.matrix(packed)
    if packed.chain is not None:
        sequence = packed.sequence_ids()
        for b, before in enumerate(packed.chain.after):
            if before >= 0:
                seen |= (sequence[:, None] == b) & (sequence[None, :] <= before)
    if packed.queries is not None:
        seen[:, packed.queries] = False
    steps = seen | torch.eye(len(seen), dtype=torch.bool)
    reached = torch.zeros(len(seen), dtype=torch.bool)
    reached[rows] = True
    for _ in range(layers):
        reached = (steps & reached[None, :]).any(1)
    return reached


@EVERY
def test_a_hidden_token_changes_no_answer(objective: Objective) -> None:
    """Whatever question has a hidden token for its answer: another token there changes the answer, and not a bit of
    what the model says to it. What the model reads of the change moves answers only where a way of allowed steps leads;
    where it is hidden by being replaced, the model does not read it, and no answer moves. An encoder reads nothing of
    what is hidden; a decoder reads it only below the row that is asked for it.
    """
    net = step_of(objective).eval()
    config = net.models["main"].config
    beside = objective.visibility == "causal" or objective.streams != ("main",)  # a row is asked for its neighbour
    writes = objective.decoder and not isinstance(objective, Forced)  # which hides nothing that the encoder reads
    hidden_rows = moved = 0
    for seed in range(4):
        e = one(seed)
        before = prepared(objective, e, seed)
        batch = collate([before])
        logits = net(batch, logits=True)
        own = torch.ones(len(batch.inputs.packed.tokens), dtype=torch.bool)
        if batch.inputs.packed.queries is not None:
            own[batch.inputs.packed.queries] = False
        places = own.nonzero()[:, 0]  # where the example's own rows lie
        for row in np.flatnonzero(before.hidden) if before.hidden is not None else []:
            hidden_rows += 1
            tokens = e.tokens.copy()
            tokens[row] = FIRST + (tokens[row] - FIRST + 1 + seed) % (VOCABULARY - FIRST)
            after = prepared(objective, replace(e, tokens=tokens), seed)
            read = set(np.flatnonzero(before.inputs.tokens != after.inputs.tokens))
            assert read <= (set() if objective.decoder else {row})
            again = collate([after])
            asked_for_it = 0
            answers = net(again, logits=True)
            for made, was, now, a, b in zip(before.labels, batch.labels, again.labels, logits, answers, strict=True):
                assert torch.equal(was.rows, now.rows)
                differ = (was.values != now.values)[:, None].flatten(1).any(1)  # a teacher's answers are no values
                assert not differ.any() or was.head in ABOUT_TOKENS
                ahead = beside * SIDE[made.stream]
                mine = torch.zeros(len(was.rows), dtype=torch.bool)
                if made.side == "outputs":
                    assert batch.outputs is not None
                    assert again.outputs is not None
                    told = (batch.outputs.packed.tokens != again.outputs.packed.tokens).nonzero()[:, 0].tolist()
                    assert config.decoder is not None
                    mine = led(batch.outputs, causal(), told, config.decoder.layers or config.layers)[was.rows]
                else:
                    assert {place_asked(before, number) + ahead for number in made.rows[differ.numpy()]} <= {row}
                if read:
                    who = rule(batch, config, made.stream)
                    mine = led(batch.inputs, who, [int(places[row])], config.layers)[was.rows]
                assert not (differ & mine).any(), "a row that the token leads to is asked for it"
                same = (a == b)[:, None].flatten(1).all(1)
                assert same[~mine].all()
                moved += int((~same).sum())
                asked_for_it += int(differ.sum())
            assert asked_for_it
    assert bool(hidden_rows) == bool(objective.rated or beside or writes)
    # What is hidden by the order, or by looking to one side alone, is seen by others.
    assert bool(moved) == bool(objective.queries or beside or writes)


@EVERY
def test_what_is_asked_and_not_hidden_is_read_as_it_is(objective: Objective) -> None:
    for seed in range(8):
        e = one(seed)
        made = prepared(objective, e, seed)
        hidden = np.zeros(len(e), bool) if made.hidden is None else made.hidden
        assert not (hidden[e.special].any() and objective.rated)  # what is chosen is never special
        if made.outputs is not None:  # whose encoder may read what is left in another order
            assert not Counter(e.tokens[~hidden].tolist()) - Counter(made.inputs.tokens.tolist())
            asked_for = [token for a in made.labels for token in a.values.tolist()]
            assert not Counter(e.tokens[hidden].tolist()) - Counter(asked_for)
            continue
        assert np.array_equal(made.inputs.tokens[: len(e)][~hidden], e.tokens[~hidden])
        if objective.rated:
            asked = {place_asked(made, row) for a in made.labels if a.head == "vocabulary" for row in a.rows.tolist()}
            assert set(np.flatnonzero(hidden).tolist()) <= asked


@EVERY
def test_the_example_itself_is_not_written_into(objective: Objective) -> None:
    e = one(3)
    values = {f.name: getattr(e, f.name) for f in fields(e)}
    copy = {name: value.copy() for name, value in values.items() if isinstance(value, np.ndarray)}
    assert {"tokens", "special"} <= set(copy)
    prepared(objective, e, 0)
    assert all(np.array_equal(getattr(e, name), value) for name, value in copy.items())
