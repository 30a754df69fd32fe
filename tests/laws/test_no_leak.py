"""No leak: replacing the original of a hidden token by any other changes no logit of the rows asked; what is not
hidden and yet asked (the kept tokens) is declared so; special tokens are never hidden.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_tools import example, selections
from training_tools import MADE, SPECIALS, VOCABULARY, masked, replaced, step_of

from didact.batch import Example, Prepared
from didact.data.packing import collate
from didact.objectives import OBJECTIVES, Combined, NextSentence, Objective, Spans
from didact.randomness import generator

CASES: tuple[Objective, ...] = (
    *MADE,
    *(masked(select=select, rate=0.4) for select in selections()),
    masked(rate=0.5, mask=0.0, random=1.0),
    Combined((NextSentence(), masked(rate=0.3), masked(rate=0.3, name="again"))),
    replaced(rate=0.4, mask=1.0, select=Spans()),
    replaced(rate=0.4, control=True),
)
EVERY = pytest.mark.parametrize("objective", CASES, ids=range(len(CASES)))
FIRST = len(SPECIALS)
ABOUT_TOKENS = ("vocabulary", "replaced")  # heads whose right answer is about the token that stood there


def test_all_objectives_are_here() -> None:
    assert {type(case) for case in CASES} == set(OBJECTIVES)


def one(seed: int) -> Example:
    return replace(example(24, seed, VOCABULARY, relation=seed % 2), source_bytes=None)


def prepared(objective: Objective, e: Example, seed: int) -> Prepared:
    return objective.prepare(e, generator(seed, 1))


@EVERY
def test_a_hidden_token_changes_no_answer(objective: Objective) -> None:
    """Whatever question has a hidden token for its answer: another token there changes the answer, and not a bit of
    what the model says to it. Where every row asked for it hides it alike, the model does not even read it.
    """
    net = step_of(objective).eval()
    hidden_rows = 0
    for seed in range(4):
        e = one(seed)
        before = prepared(objective, e, seed)
        logits = net(collate([before]), logits=True)
        for row in np.flatnonzero(before.hidden) if before.hidden is not None else []:
            hidden_rows += 1
            tokens = e.tokens.copy()
            tokens[row] = FIRST + (tokens[row] - FIRST + 1 + seed) % (VOCABULARY - FIRST)
            after = prepared(objective, replace(e, tokens=tokens), seed)
            changed = before.inputs.tokens != after.inputs.tokens
            assert not changed.any() or set(np.flatnonzero(changed)) == {row}
            answers = net(collate([after]), logits=True)
            asked_for_it = 0
            for was, now, a, b in zip(before.labels, after.labels, logits, answers, strict=True):
                assert np.array_equal(was.rows, now.rows)
                differ = was.values != now.values
                assert not differ.any() or was.head in ABOUT_TOKENS
                assert not (differ & changed[was.rows]).any(), "a row that reads the token is asked for it"
                same = torch.from_numpy(differ) if changed.any() else slice(None)
                assert torch.equal(a[same], b[same])
                asked_for_it += int(differ.sum())
            assert asked_for_it
    beside = objective.visibility == "causal" or objective.streams != ("main",)  # a row is asked for its neighbour
    assert bool(hidden_rows) == bool(objective.rated or beside)


@EVERY
def test_what_is_asked_and_not_hidden_is_read_as_it_is(objective: Objective) -> None:
    for seed in range(8):
        e = one(seed)
        made = prepared(objective, e, seed)
        hidden = np.zeros(len(e), bool) if made.hidden is None else made.hidden
        assert not (hidden[e.special].any() and objective.rated)  # what is chosen is never special
        assert np.array_equal(made.inputs.tokens[~hidden], e.tokens[~hidden])
        if objective.rated:
            asked = [a.rows for a in made.labels if a.head == "vocabulary"]
            assert set(np.flatnonzero(hidden)) <= set(np.concatenate([[], *asked]))


@EVERY
def test_the_example_itself_is_not_written_into(objective: Objective) -> None:
    e = one(3)
    copy = {name: value.copy() for name, value in vars(e).items() if isinstance(value, np.ndarray)}
    prepared(objective, e, 0)
    assert all(np.array_equal(vars(e)[name], value) for name, value in copy.items())
