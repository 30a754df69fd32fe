"""What the two language models are asked, written out token by token."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from didact import objectives
from didact.batch import Example
from didact.data.lay import lay
from didact.heads import Vocabulary
from didact.objectives import BidirectionalLM, Combined, NextSentence, from_json, to_json

KEYS = np.zeros(8, np.uint64)
TEXTS = ("C a b S c S", "C d S", "e", "C S", "f g")  # capital letters are special


def example(text: str) -> Example:
    letters = text.split()
    return Example(
        tokens=np.array([ord(letter) for letter in letters]),
        special=np.array([letter.isupper() for letter in letters]),
        source_bytes=np.array([0 if letter.isupper() else 3 for letter in letters]),
    )


def asked(text: str) -> dict[str, list[tuple[int, str]]]:
    """(row, answer) of each direction, by looking at every pair of neighbours."""
    letters = text.split()
    pairs = list(enumerate(pairwise(letters)))
    return {
        "forward": [(row, after) for row, (_, after) in pairs if after.islower()],
        "backward": [(row + 1, before) for row, (before, _) in pairs if before.islower()],
    }


def test_every_token_is_asked_of_its_neighbours() -> None:
    prepared = BidirectionalLM().ask(lay([example(text) for text in TEXTS]), KEYS[: len(TEXTS)]).prepared()
    for text, made in zip(TEXTS, prepared, strict=True):
        assert [labels.name for labels in made.labels] == ["forward", "backward"]
        for labels in made.labels:
            found = [(int(row), chr(value)) for row, value in zip(labels.rows, labels.values, strict=True)]
            assert found == asked(text)[labels.name]
            assert (labels.head, labels.stream) == ("vocabulary", labels.name)
            assert labels.covered == 3 * len(found)
        assert made.hidden is not None
        hidden = [letter for letter, gone in zip(text.split(), made.hidden, strict=True) if gone]
        assert hidden == [letter for letter in text.split() if letter.islower() and len(text) > 1]


def test_parts_are_sequences_of_their_own() -> None:
    (made,) = BidirectionalLM().ask(lay([replace(example("a b c d"), parts=np.array([0, 1]))]), KEYS[:1]).prepared()
    forward, backward = ([(int(r), chr(v)) for r, v in zip(x.rows, x.values, strict=True)] for x in made.labels)
    assert forward == [(1, "c"), (2, "d")]
    assert backward == [(2, "b"), (3, "c")]
    assert made.hidden is not None
    assert made.hidden.tolist() == [False, True, True, True]


def test_what_it_is_made_of() -> None:
    objective = BidirectionalLM()
    assert objective.heads == {"vocabulary": Vocabulary(stream="forward")}
    assert from_json(to_json(objective)) == objective
    assert Combined((objective, NextSentence())).streams == ("forward", "backward", "main")
    assert objectives.Masked(4, 9, (0, 1)).streams == ("main",)
