"""Beam search (Graves, 2012; Sutskever et al., 2014, §3.2), with length penalty, early stopping and the n best.

Each step looks at the 2 R best continuations of a prompt's R running hypotheses. Those among the first R that end are
finished, the R best that do not end run on. The rules of when a prompt is done are those of transformers' `generate`.

A hypothesis' running score is the sum of its tokens' (log-probabilities after the rules of `generation.rules`); its
final one is that divided by the number of new tokens, the end included, to the power of the length penalty. With a
coverage penalty λ each token's costs λ · how much its row looks again where the hypothesis has looked (see `Decoding`).

Shapes: B prompts that still go on, R running hypotheses of each, K candidates, V vocabulary, L new tokens so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from didact.generation.candidates import NONE, Candidates, best
from didact.generation.constrained import Bound
from didact.generation.decoding import Decoding
from didact.generation.history import History
from didact.generation.reader import Prompts, Reader
from didact.generation.rules import Rule, apply
from didact.generation.walk import Hypothesis, Stops


@dataclass(frozen=True)
class Beams:
    """The running hypotheses of one search over B prompts: scores (B, R)."""

    scores: Tensor
    finished: Tensor
    """(B, R): final scores of the finished ones, best first, `NONE` where there is none"""
    texts: Tensor
    """(B, R, room): their new tokens"""
    sizes: Tensor
    """(B, R): how many"""
    improvable: Tensor
    """(B,): whether a running one may still get among them"""

    @staticmethod
    def begin(prompts: int, hypotheses: int, room: int, device: torch.device) -> Beams:
        """One running hypothesis each; none finished."""
        scores = torch.full((prompts, hypotheses), NONE, device=device)
        scores[:, 0] = 0.0
        return Beams(
            scores,
            torch.full((prompts, hypotheses), NONE, device=device),
            torch.zeros((prompts, hypotheses, room), dtype=torch.int64, device=device),
            torch.zeros((prompts, hypotheses), dtype=torch.int64, device=device),
            torch.ones(prompts, dtype=torch.bool, device=device),
        )

    def keep(self, prompts: Tensor) -> Beams:
        return Beams(*(x[prompts] for x in (self.scores, self.finished, self.texts, self.sizes, self.improvable)))

    @property
    def full(self) -> Tensor:
        """(B,): whether there are R finished ones."""
        return (self.sizes > 0).all(1)

    def ended(self, candidates: Candidates, ends: Tensor, written: Tensor, decoding: Decoding) -> Beams:
        """With those candidates that end (B, K). written (B, R, L): before this step."""
        R, L = self.scores.shape[1], written.shape[2]
        open_ = self.improvable if decoding.early_stopping is not True else self.improvable & ~self.full
        new = ends & open_[:, None] & (candidates.scores > NONE / 2)
        if not bool(new.any()):
            return self
        final = torch.where(new, candidates.scores / (L + 1) ** decoding.length_penalty, NONE)
        texts = torch.zeros((*new.shape, self.texts.shape[2]), dtype=torch.int64, device=new.device)
        texts[:, :, :L] = written.gather(1, candidates.parents[:, :, None].expand(-1, -1, L))
        texts[:, :, L] = candidates.tokens
        merged = torch.cat((self.finished, final), 1)
        sizes = torch.cat((self.sizes, new * (L + 1)), 1)
        order = merged.sort(dim=1, descending=True, stable=True).indices[:, :R]
        return replace(
            self,
            finished=merged.gather(1, order),
            texts=torch.cat((self.texts, texts), 1).gather(1, order[:, :, None].expand(-1, -1, texts.shape[2])),
            sizes=sizes.gather(1, order),
        )

    def judged(self, length: int, decoding: Decoding) -> Beams:
        """Whether running hypotheses, of `length` new tokens now, may still get among the finished ones."""
        penalty = decoding.length_penalty
        longest = decoding.early_stopping == "never" and penalty > 0.0
        possible = self.scores.amax(1) / (decoding.maximum if longest else length) ** penalty
        # An empty place is as bad as can be, so that everything improves on it.
        return replace(self, improvable=self.improvable & (possible > self.finished.amin(1)))

    def done(self, decoding: Decoding) -> Tensor:
        """(B,): whether nothing more can come of a prompt."""
        return ~self.improvable | (self.full if decoding.early_stopping is True else torch.zeros_like(self.improvable))

    def hypotheses(self, prompt: int) -> list[Hypothesis]:
        """The finished ones of a prompt, best first."""
        sizes, scores, texts = (x[prompt].tolist() for x in (self.sizes, self.finished, self.texts))
        return [Hypothesis(tuple(t[:n]), s) for n, s, t in zip(sizes, scores, texts, strict=True) if n]


def search(
    reader: Reader,
    prompts: Prompts,
    decoding: Decoding,
    ends: Sequence[int],
    rules: Sequence[Rule] = (),
    stops: Sequence[Stops] = (),
    phrases: Sequence[Sequence[Sequence[int]]] = (),
) -> list[list[Hypothesis]]:
    """For each prompt the best hypotheses, `decoding.answers` at most (fewer where rules leave no more).

    Groups go one after the other, each a search of its own whose scores are lowered for tokens that earlier groups
    have just taken; answers are the best of all groups. stops: for each prompt what else ends a text; phrases: for
    each prompt what must appear; none: nothing does, nothing must.
    """
    G = decoding.groups
    R, K = decoding.beams, decoding.beams // G
    logits = reader.start(prompts, R, decoding.maximum)
    device = logits.device
    logits = logits[:, None].expand(-1, R, -1)
    history = History(reader.before(prompts), R, decoding.maximum, device)
    numbers = list(range(len(prompts)))
    found: list[list[Hypothesis]] = [[] for _ in prompts]
    groups = [Beams.begin(len(prompts), K, decoding.maximum, device) for _ in range(G)]
    bound = Bound.of(phrases, R, decoding.maximum, device) if any(phrases) else None
    last_tokens = torch.tensor(tuple(ends), dtype=torch.int64, device=device)
    keep = max(2, 1 + len(ends)) * K
    for step in range(decoding.maximum):
        last = step + 1 == decoding.maximum
        plain = not rules and G == 1 and bound is None
        scores = logits if plain else apply(rules, logits.log_softmax(2), history)
        again = decoding.coverage_penalty * reader.again() if decoding.coverage_penalty else None
        own_stops = [stops[number] for number in numbers] if stops else ()
        taken: list[Candidates] = []
        for g, beams in enumerate(groups):
            own = slice(g * K, (g + 1) * K)
            written = history.written[:, own]
            running = beams.scores if again is None else beams.scores - again[:, own]
            of_group = _avoiding(scores[:, own], taken, groups, decoding)
            if bound is not None:
                chosen, ended, bound = bound.step(running, of_group, written, last_tokens, keep)
            else:
                candidates = best(running, of_group, keep, normalise=plain)
                stopped = torch.isin(candidates.tokens, last_tokens) | _stopped(candidates, written, own_stops)
                on = (candidates.scores + stopped * NONE).topk(K)
                chosen = replace(candidates.at(on.indices), scores=on.values)
                ended = _first(candidates, stopped | last, K)
            groups[g] = replace(beams.ended(*ended, written, decoding), scores=chosen.scores).judged(step + 1, decoding)
            taken.append(replace(chosen, parents=chosen.parents + g * K))
        parents = torch.cat([one.parents for one in taken], 1)
        history.add(torch.cat([one.tokens for one in taken], 1), parents)
        reader.move(parents)
        done = torch.stack([beams.done(decoding) for beams in groups]).all(0) | last
        if bool(done.any()):
            for b in done.nonzero().squeeze(1).tolist():
                every = [one for beams in groups for one in beams.hypotheses(b)]
                found[numbers[b]] = sorted(every, key=lambda one: -one.score)[: decoding.answers]
            left = (~done).nonzero().squeeze(1)
            if not len(left):
                return found
            numbers = [numbers[b] for b in left.tolist()]
            history.keep(left)
            reader.keep(left)
            groups = [beams.keep(left) for beams in groups]
            bound = bound and bound.keep(left)
        logits = reader.read(history.tokens[:, :, -1])
    return found


def _first(candidates: Candidates, stopped: Tensor, K: int) -> tuple[Candidates, Tensor]:
    """Only the first K candidates may end; the others are there so that enough run on."""
    return Candidates(*(x[:, :K] for x in (candidates.scores, candidates.parents, candidates.tokens))), stopped[:, :K]


def _avoiding(scores: Tensor, taken: Sequence[Candidates], groups: Sequence[Beams], decoding: Decoding) -> Tensor:
    """scores (B, K, V) of a group, less `diversity` for each time that an earlier group, if it still goes on, has taken
    a token in this step.
    """
    if not taken:
        return scores
    counts = torch.zeros_like(scores[:, 0])
    for one, beams in zip(taken, groups, strict=False):
        going = ~beams.done(decoding)
        counts.scatter_add_(1, one.tokens, going[:, None].expand_as(one.tokens).to(counts.dtype))
    return scores - decoding.diversity * counts[:, None]


def _stopped(candidates: Candidates, written: Tensor, stops: Sequence[Stops]) -> Tensor:
    """(B, K): whether a candidate's text ends with it. stops: of each prompt."""
    if not stops:
        return torch.zeros_like(candidates.tokens, dtype=torch.bool)
    texts, parents, tokens = written.tolist(), candidates.parents.tolist(), candidates.tokens.tolist()
    found = [
        [stops[b]([*texts[b][parent], token]) for parent, token in zip(*row, strict=True)]
        for b, row in enumerate(zip(parents, tokens, strict=True))
    ]
    return torch.from_numpy(np.array(found, bool)).to(candidates.tokens.device)
