"""Continuations of a search's running hypotheses, and the best of them.

Shapes: B prompts, R running hypotheses of each, K candidates, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from didact.generation.top import log_total, top_of_all

NONE = -1e9  # the score of a hypothesis that there is not; finite, so that a prompt without enough others can go on


@dataclass(frozen=True)
class Candidates:
    """Continuations, best first: scores (B, K); parents (B, K): which hypothesis each continues; tokens (B, K)."""

    scores: Tensor
    parents: Tensor
    tokens: Tensor

    def at(self, which: Tensor) -> Candidates:
        """Some of them, (B, n)."""
        return Candidates(*(x.gather(1, which) for x in (self.scores, self.parents, self.tokens)))


def best(running: Tensor, scores: Tensor, k: int, normalise: bool) -> Candidates:
    """The k best continuations: running (B, R) scores so far, scores (B, R, V) of the next token; normalise: these are
    logits.
    """
    if normalise:
        running = running - log_total(scores.flatten(0, 1)).view(running.shape)
    return Candidates(*top_of_all(scores, running, k))
