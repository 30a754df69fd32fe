"""What may come next, whatever the model thinks: rules over its scores, each a frozen thing with one verb.

A rule is handed scores (B, R, V), which it may write into, and the history; it gives scores. Rules look at what was
written alone, not at how it was found, so greedy decoding, sampling and beam search share them.

Shapes: B prompts, R hypotheses of each, V vocabulary, L tokens so far, n tokens of a phrase.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from didact.generation.history import ABSENT, History
from didact.tokenization.surfaces import tail

NEVER = float("-inf")


class Rule(ABC):
    """scores (B, R, V), logits or log-probabilities, and what there is so far -> scores."""

    @abstractmethod
    def __call__(self, scores: Tensor, history: History) -> Tensor: ...


@dataclass(frozen=True)
class Repetition(Rule):
    """Scores of tokens that have occurred, s / penalty where s > 0, s · penalty else (Keskar et al., 2019, §4.1)."""

    penalty: float

    def __call__(self, scores: Tensor, history: History) -> Tensor:
        tokens = history.tokens
        # In the place of an absent token its hypothesis' last one, which has occurred in any case.
        at = torch.where(tokens == ABSENT, tokens[:, :, -1:], tokens)
        old = scores.gather(2, at)
        return scores.scatter(2, at, torch.where(old < 0, old * self.penalty, old / self.penalty))


@dataclass(frozen=True)
class NoRepeat(Rule):
    """No n-gram of this length occurs twice, the prompt included (Paulus et al., 2018, §2.5)."""

    length: int

    def __call__(self, scores: Tensor, history: History) -> Tensor:
        tokens, n = history.tokens, self.length
        L = tokens.shape[2]
        if n > L:
            return scores
        grams = tokens.unfold(2, n, 1)
        same = (grams[..., :-1] == tokens[:, :, None, L - n + 1 :]).all(-1) & (grams != ABSENT).all(-1)
        return _forbid(scores, grams[..., -1], same)


@dataclass(frozen=True)
class Banned(Rule):
    """These phrases do not occur: the last token of one is forbidden where the others stand before it."""

    phrases: tuple[tuple[int, ...], ...]

    def __call__(self, scores: Tensor, history: History) -> Tensor:
        tokens = history.tokens
        for phrase in self.phrases:
            n = len(phrase) - 1
            if n == 0:
                scores[:, :, phrase[-1]] = NEVER
            elif n <= tokens.shape[2]:
                before = torch.tensor(phrase[:-1], device=tokens.device)
                there = (tokens[:, :, -n:] == before).all(-1)
                scores[:, :, phrase[-1]].masked_fill_(there, NEVER)
        return scores


@dataclass(frozen=True)
class Unwritten(Rule):
    """These texts do not appear, whatever tokens spell them: one that would complete a text is forbidden, also where
    the prompt begins it. surfaces: what each token adds to a text, see `Tokenizer.surfaces`; texts: not empty.
    """

    surfaces: tuple[bytes, ...]
    texts: tuple[bytes, ...]
    _endings: dict[bytes, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """by what may stand before them: the tokens that complete a text then; b"" anywhere"""

    def __post_init__(self) -> None:
        found: dict[bytes, list[int]] = {}
        for text in self.texts:
            for token, own in enumerate(self.surfaces):
                if text in own:
                    found.setdefault(b"", []).append(token)
            for n in range(1, len(text)):
                own = [token for token, surface in enumerate(self.surfaces) if surface.startswith(text[n:])]
                found.setdefault(text[:n], []).extend(own)
        self._endings.update((begin, torch.tensor(tokens)) for begin, tokens in found.items() if tokens)

    def __call__(self, scores: Tensor, history: History) -> Tensor:
        longest = max(map(len, self._endings), default=0)
        for b, row in enumerate(history.tokens.tolist()):
            for r, tokens in enumerate(row):
                before = tail(self.surfaces, tokens, longest)
                for begin, ends in self._endings.items():
                    if before.endswith(begin):
                        scores[b, r, ends.to(scores.device)] = NEVER
        return scores


@dataclass(frozen=True)
class Forbidden(Rule):
    """Tokens that are never written, like the one that stands for a blank."""

    tokens: tuple[int, ...]

    def __call__(self, scores: Tensor, history: History) -> Tensor:
        del history
        scores[:, :, list(self.tokens)] = NEVER
        return scores


@dataclass(frozen=True)
class AtLeast(Rule):
    """No end before this many new tokens."""

    minimum: int
    ends: tuple[int, ...]

    def __call__(self, scores: Tensor, history: History) -> Tensor:
        if history.steps < self.minimum:
            scores[:, :, list(self.ends)] = NEVER
        return scores


@dataclass(frozen=True)
class Forced(Rule):
    """The new token of this number (from 0) is this one."""

    step: int
    token: int

    def __call__(self, scores: Tensor, history: History) -> Tensor:
        if history.steps == self.step:
            scores = torch.full_like(scores, NEVER)
            scores[:, :, self.token] = 0.0
        return scores


def apply(rules: Sequence[Rule], scores: Tensor, history: History) -> Tensor:
    """All of them, in order; what is handed in is not written into."""
    if rules:
        scores = scores.clone()
    for rule in rules:
        scores = rule(scores, history)
    return scores


def _forbid(scores: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """scores (B, R, V), tokens and where (B, R, k): -> scores without those tokens."""
    return scores.scatter_reduce(2, torch.where(where, tokens, 0), torch.where(where, NEVER, -NEVER), "amin")
