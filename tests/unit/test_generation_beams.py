"""Diverse and constrained beams against brute force, over vocabularies small enough to write everything down."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from didact.generation.beams import search
from didact.generation.constrained import room
from didact.generation.decoding import Decoding
from didact.generation.reader import Prompts, Reader
from didact.generation.rules import AtLeast, Banned, NoRepeat, Repetition
from didact.generation.walk import Walk
from didact.randomness import generator

END = 0


class Table(Reader):
    """A model as a function of all tokens so far: logits drawn anew for each text. It is asked as a decoder asks, so
    that hypotheses that were moved wrongly are given another text's logits.
    """

    def __init__(self, vocabulary: int, seed: int) -> None:
        self.vocabulary, self.seed = vocabulary, seed
        self.texts: list[list[tuple[int, ...]]] = []
        self.known: dict[tuple[int, ...], Tensor] = {}

    def logits(self, text: Sequence[int]) -> Tensor:
        known = self.known.get(tuple(text))
        if known is None:
            known = 1.5 * torch.from_numpy(generator(self.seed, *text).standard_normal(self.vocabulary)).float()
            self.known[tuple(text)] = known
        return known

    def start(self, prompts: Prompts, hypotheses: int, room: int) -> Tensor:
        del room
        self.texts = [[tuple(prompt)] * hypotheses for prompt in prompts]
        return torch.stack([self.logits(prompt) for prompt in prompts])

    def before(self, prompts: Prompts) -> Prompts:
        return prompts

    def read(self, tokens: Tensor) -> Tensor:
        self.texts = [
            [(*text, token) for text, token in zip(*row, strict=True)]
            for row in zip(self.texts, tokens.tolist(), strict=True)
        ]
        return torch.stack([torch.stack([self.logits(text) for text in row]) for row in self.texts])

    def move(self, parents: Tensor) -> None:
        self.texts = [[row[p] for p in own] for row, own in zip(self.texts, parents.tolist(), strict=True)]

    def keep(self, prompts: Tensor) -> None:
        self.texts = [self.texts[b] for b in prompts.tolist()]

    def score(self, prompt: Sequence[int], text: Sequence[int]) -> float:
        """The log-likelihood of a text."""
        return sum(float(self.logits([*prompt, *text[:i]]).log_softmax(0)[token]) for i, token in enumerate(text))


def every(vocabulary: int, longest: int) -> list[tuple[int, ...]]:
    """All texts: those that end, and those of full length that do not."""
    words = range(1, vocabulary)
    return [
        (*text, *end)
        for n in range(longest + 1)
        for text in itertools.product(words, repeat=n)
        for end in ([(END,)] if n < longest else [()])
    ]


def contains(text: Sequence[int], phrase: Sequence[int]) -> bool:
    return any(tuple(text[i : i + len(phrase)]) == tuple(phrase) for i in range(len(text) - len(phrase) + 1))


PROMPTS = ([3, 1], [2], [4, 4, 1])


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_wide_beams_find_the_best_of_all(penalty: float) -> None:
    table, longest = Table(4, 7), 4
    wide = Decoding(maximum=longest, beams=121, answers=5, length_penalty=penalty, early_stopping="never")
    found = search(table, PROMPTS, wide, (END,))
    for prompt, hypotheses in zip(PROMPTS, found, strict=True):
        ranked = sorted(every(4, longest), key=lambda t: -table.score(prompt, t) / len(t) ** penalty)
        assert [h.tokens for h in hypotheses] == ranked[:5]
        for h in hypotheses:
            assert h.score == pytest.approx(table.score(prompt, h.tokens) / len(h.tokens) ** penalty, abs=1e-4)


CONSTRAINTS = {
    "a word": [[2]],
    "two words": [[3], [1]],
    "a phrase": [[2, 2]],
    "that overlap": [[1, 2], [2, 1]],
    "a word and a phrase": [[3], [1, 1]],
    "one within the other": [[1], [1, 3]],
    "as long as there is room": [[1, 2], [3, 3]],
}


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_phrases_appear_and_wide_beams_are_exact(name: str, penalty: float) -> None:
    """With room for everything that may still come to something, the result is the best of all texts that have them."""
    phrases, longest = CONSTRAINTS[name], 4
    table = Table(5, 3)
    wide = Decoding(maximum=longest, beams=320, answers=3, length_penalty=penalty, early_stopping="never")
    found = search(table, PROMPTS, wide, (END,), phrases=[phrases] * 3)
    possible = [t for t in every(5, longest) if all(contains(t, phrase) for phrase in phrases)]
    assert possible
    for prompt, hypotheses in zip(PROMPTS, found, strict=True):
        ranked = sorted(possible, key=lambda t: -table.score(prompt, t) / len(t) ** penalty)
        assert [h.tokens for h in hypotheses] == ranked[:3]
        assert hypotheses[0].score == pytest.approx(
            table.score(prompt, ranked[0]) / len(ranked[0]) ** penalty, abs=1e-4
        )


@pytest.mark.parametrize(
    ("phrases", "least"),
    [
        ([[1, 2], [2, 1]], 3),
        ([[1, 2, 3], [2]], 3),
        ([[1], [1]], 1),
        ([[1, 1, 2], [2, 1, 1]], 4),
        ([[1, 2], [2, 3], [3, 4]], 4),
        ([[1, 2], [3, 4]], 4),
        ([[1, 1], [1, 1, 1]], 3),
    ],
)
def test_the_room_that_phrases_take(phrases: list[list[int]], least: int) -> None:
    """The shortest of all texts that have them; of many that overlap in turns it may be said too small."""
    texts = (t for n in range(9) for t in itertools.product(range(1, 5), repeat=n))
    assert room(phrases) == len(next(t for t in texts if all(contains(t, p) for p in phrases))) == least


@pytest.mark.parametrize("seed", range(30))
def test_the_room_of_phrases_is_never_said_too_large(seed: int) -> None:
    rng = np.random.default_rng(seed)
    phrases = [rng.integers(1, 3, size=rng.integers(1, 4)).tolist() for _ in range(3)]
    texts = (t for n in range(10) for t in itertools.product((1, 2), repeat=n))
    assert room(phrases) <= len(next(t for t in texts if all(contains(t, p) for p in phrases)))


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_phrases_appear_in_narrow_beams(name: str, beams: int) -> None:
    phrases = CONSTRAINTS[name]
    for seed in range(4):
        decoding = Decoding(maximum=5, beams=beams, answers=beams)
        found = search(Table(6, seed), PROMPTS, decoding, (END,), phrases=[phrases, [], phrases])
        for own, hypotheses in zip([phrases, [], phrases], found, strict=True):
            assert hypotheses
            for h in hypotheses:
                assert all(contains(h.tokens, phrase) for phrase in own), (h, own)
            assert len({h.tokens for h in hypotheses}) == len(hypotheses)


def test_phrases_of_one_prompt_leave_the_others_alone() -> None:
    decoding = Decoding(maximum=5, beams=3, answers=3)
    plain = search(Table(6, 1), PROMPTS, decoding, (END,))
    bound = search(Table(6, 1), PROMPTS, decoding, (END,), phrases=[[[5, 5]], [], []])
    assert bound[1][0].tokens == plain[1][0].tokens
    assert all(contains(h.tokens, (5, 5)) for h in bound[0])


def diverse(table: Table, prompt: Sequence[int], groups: int, each: int, strength: float, longest: int) -> list:
    """Vijayakumar et al. (2018), algorithm 1, word for word: in each step group after group takes its best
    continuations of what the model says less `strength` for each use of a word by the groups before it.
    """
    running: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(groups)]
    finished: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(groups)]
    closed = [False] * groups
    for step in range(longest):
        used: list[int] = []
        for g in range(groups):
            options = []
            for score, text in running[g]:
                own = table.logits([*prompt, *text]).log_softmax(0)
                for token in range(table.vocabulary):
                    options.append((score + float(own[token]) - strength * used.count(token), (*text, token)))
            options.sort(key=lambda o: -o[0])
            options = options[: 2 * each]
            for score, text in options[:each]:
                if not closed[g] and (text[-1] == END or step + 1 == longest):
                    finished[g].append((score / len(text), text))
            finished[g] = sorted(finished[g], key=lambda f: -f[0])[:each]
            running[g] = [o for o in options if o[1][-1] != END][:each]
            best = running[g][0][0] / (step + 1)
            closed[g] |= len(finished[g]) == each and best <= finished[g][-1][0]
            if not closed[g]:
                used += [text[-1] for _, text in running[g]]
    return sorted((f for own in finished for f in own), key=lambda f: -f[0])


@pytest.mark.parametrize(("groups", "each"), [(2, 1), (3, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("strength", [0.0, 0.7, 5.0])
def test_groups_are_those_of_the_paper(groups: int, each: int, strength: float) -> None:
    for seed in range(3):
        table = Table(6, seed)
        decoding = Decoding(maximum=5, beams=groups * each, groups=groups, diversity=strength, answers=groups * each)
        for prompt, found in zip(PROMPTS, search(table, PROMPTS, decoding, (END,)), strict=True):
            wanted = diverse(table, prompt, groups, each, strength, 5)
            assert [h.score for h in found] == pytest.approx([score for score, _ in wanted], abs=1e-4)
            if strength:  # equal groups find equal texts, in any order
                assert [h.tokens for h in found] == [text for _, text in wanted]


def test_one_beam_is_greedy() -> None:
    walk = Walk(Table(6, 0), PROMPTS, Decoding(maximum=6), (END,))
    for _ in walk.steps():
        pass
    # Of beams in as many groups each is alone, and the first gives way to no other.
    alone = Decoding(maximum=6, beams=2, groups=2, diversity=0.0, length_penalty=0.0, early_stopping=True)
    found = search(Table(6, 0), PROMPTS, alone, (END,))
    for greedy, (beam,) in zip(walk.hypotheses, found, strict=True):
        if greedy[0].tokens[-1] == END:
            assert greedy[0].tokens == beam.tokens
            assert math.isclose(greedy[0].score, beam.score, abs_tol=1e-4)
    assert any(greedy[0].tokens[-1] == END for greedy in walk.hypotheses)


@pytest.mark.parametrize("early", [True, False, "never"])
def test_a_batch_is_each_prompt_alone(early: bool) -> None:
    decoding = Decoding(maximum=7, beams=3, answers=3, early_stopping=early)
    rules = (Repetition(1.2), NoRepeat(2), Banned(((2, 3), (4,))), AtLeast(2, (END,)))
    prompts = ([3, 1], [2], [4, 4, 1], [5, 1, 1, 1, 2])
    together = search(Table(6, 5), prompts, decoding, (END,), rules)
    for prompt, found in zip(prompts, together, strict=True):
        assert [found] == search(Table(6, 5), [prompt], decoding, (END,), rules)


def test_rules_hold() -> None:
    decoding = Decoding(maximum=8, beams=4, answers=4)
    rules = (NoRepeat(2), Banned(((2, 3), (4,))), AtLeast(3, (END,)))
    for hypotheses, prompt in zip(search(Table(6, 2), PROMPTS, decoding, (END,), rules), PROMPTS, strict=True):
        for h in hypotheses:
            whole = [*prompt, *h.tokens]
            pairs = list(itertools.pairwise(whole[: len(whole) - (h.tokens[-1] == END)]))
            new = pairs[max(0, len(prompt) - 1) :]
            assert all(pairs.count(pair) == 1 for pair in new)
            assert 4 not in h.tokens
            assert (2, 3) not in new
            assert len(h.tokens) > 3


def test_nothing_possible_gives_nothing() -> None:
    rules = (Banned(tuple((token,) for token in range(6))),)
    assert search(Table(6, 0), PROMPTS, Decoding(maximum=3, beams=2), (END,), rules) == [[], [], []]
