"""Phrases that must appear: beams are shared out among hypotheses that have come equally far with them (dynamic beam
allocation; Post & Vilar, 2018, §3).

Candidates are the best continuations, as always, and of every hypothesis those that begin or go on with a phrase it
lacks. They fall into banks by how many tokens of the phrases they have; places are given to the banks in turn, the
fullest bank first, its best candidate first. (Post & Vilar give each bank as many places, which is the same where all
banks can fill them.) What lacks least so comes a token nearer at every step. A hypothesis with too few steps left for
what it lacks is given up, and one that lacks anything cannot end.

Shapes: B prompts, R running hypotheses of each, K candidates, P phrases of a prompt, n tokens of the longest phrase,
L new tokens so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from didact.generation.candidates import NONE, Candidates, best

NEVER = float("-inf")
_FILL = -2  # no token: behind the end of a shorter phrase


@dataclass(frozen=True)
class Bound:
    """phrases (B, P, n), filled up with no tokens; sizes (B, P): of each, 0 = none; done (B, R, P): which a hypothesis
    has; left: steps to come, this one included.
    """

    phrases: Tensor
    sizes: Tensor
    done: Tensor
    left: int

    @staticmethod
    def of(phrases: Sequence[Sequence[Sequence[int]]], hypotheses: int, steps: int, device: torch.device) -> Bound:
        """phrases of each prompt, each of at least one token."""
        P = max(map(len, phrases))
        n = max(len(phrase) for some in phrases for phrase in some)
        table = torch.full((len(phrases), P, n), _FILL, dtype=torch.int64)
        sizes = torch.zeros((len(phrases), P), dtype=torch.int64)
        for b, some in enumerate(phrases):
            for i, phrase in enumerate(some):
                table[b, i, : len(phrase)] = torch.tensor(phrase, dtype=torch.int64)
                sizes[b, i] = len(phrase)
        done = (sizes == 0)[:, None].expand(-1, hypotheses, -1)
        return Bound(table.to(device), sizes.to(device), done.to(device), steps)

    def keep(self, prompts: Tensor) -> Bound:
        return replace(self, phrases=self.phrases[prompts], sizes=self.sizes[prompts], done=self.done[prompts])

    def step(
        self, running: Tensor, scores: Tensor, written: Tensor, ends: Tensor, k: int
    ) -> tuple[Candidates, tuple[Candidates, Tensor], Bound]:
        """running (B, R) scores so far, scores (B, R, V) log-probabilities, written (B, R, L), ends: tokens that end
        -> the hypotheses that run on; candidates, and which of them end; and what then holds.
        """
        R = running.shape[1]
        candidates = self._candidates(running, scores, written, k)
        longer = torch.cat(
            (
                written.gather(1, candidates.parents[:, :, None].expand(-1, -1, written.shape[2])),
                candidates.tokens[:, :, None],
            ),
            2,
        )
        had = self.done.gather(1, candidates.parents[:, :, None].expand(-1, -1, self.done.shape[2]))
        matched = self._matched(longer)
        done = had | (matched == self.sizes[:, None])
        lacking = self._lacking(matched, done)
        stops = torch.isin(candidates.tokens, ends)
        # What follows an end is not written any more: it is one only where nothing lacks.
        useless = (self._least(matched, done) > self.left - 1) | (stops & (lacking > 0))
        order = candidates.scores.masked_fill(useless, NEVER).sort(dim=1, descending=True, stable=True)
        candidates = replace(candidates.at(order.indices), scores=order.values)
        done = done.gather(1, order.indices[:, :, None].expand_as(done))
        lacking, stops = lacking.gather(1, order.indices), stops.gather(1, order.indices)
        real = order.values > NONE / 2  # not one that continues a hypothesis that there is not
        # Of those that lack nothing the first R may end, as everywhere.
        ended = real & (lacking == 0) & ((real & (lacking == 0)).cumsum(1) <= R) & (stops | (self.left == 1))
        alive = real & ~stops
        which = _in_turn(lacking, alive)[:, :R]
        chosen = candidates.at(which)
        chosen = replace(chosen, scores=chosen.scores.masked_fill(~alive.gather(1, which), NEVER))
        own = done.gather(1, which[:, :, None].expand(-1, -1, done.shape[2]))
        return chosen, (candidates, ended), replace(self, done=own, left=self.left - 1)

    def _candidates(self, running: Tensor, scores: Tensor, written: Tensor, k: int) -> Candidates:
        """The k best, each hypothesis' own best, and all that begin or go on with a phrase; each once."""
        B, R, _ = scores.shape
        P = self.sizes.shape[1]
        found = best(running, scores, k, normalise=False)
        alone = scores.max(2)
        going = self._matched(written)  # (B, R, P)
        next_of = self.phrases[:, None].expand(-1, R, -1, -1)
        following = next_of.gather(3, going.clamp(max=next_of.shape[3] - 1)[..., None]).squeeze(3)
        first = next_of[..., 0]
        tokens = torch.cat((alone.indices[:, :, None], following, first), 2)
        wanted = torch.cat((torch.ones_like(alone.indices[:, :, None], dtype=torch.bool), ~self.done, ~self.done), 2)
        tokens = torch.where(wanted & (tokens >= 0), tokens, alone.indices[:, :, None])
        values = scores.gather(2, tokens) + running[:, :, None]
        parents = torch.arange(R, device=tokens.device)[None, :, None].expand(B, R, 1 + 2 * P)
        every = Candidates(
            torch.cat((found.scores, values.flatten(1)), 1),
            torch.cat((found.parents, parents.flatten(1)), 1),
            torch.cat((found.tokens, tokens.flatten(1)), 1),
        )
        same = (every.parents[:, :, None] == every.parents[:, None]) & (
            every.tokens[:, :, None] == every.tokens[:, None]
        )
        again = same.tril(-1).any(2)
        return replace(every, scores=every.scores.masked_fill(again, NEVER))

    def _matched(self, tokens: Tensor) -> Tensor:
        """tokens (B, H, L) -> (B, H, P): how many tokens of each phrase stand at the end of each text, at most all."""
        B, H, L = tokens.shape
        _, P, n = self.phrases.shape
        found = torch.zeros((B, H, P), dtype=torch.int64, device=tokens.device)
        for size in range(1, min(n, L) + 1):
            tail = tokens[:, :, None, L - size :]
            there = (tail == self.phrases[:, None, :, :size]).all(3)
            found = torch.where(there, size, found)
        return found

    def _lacking(self, matched: Tensor, done: Tensor) -> Tensor:
        """(B, H): tokens still to be written: those of all phrases that lack, less those that the furthest has."""
        sizes = self.sizes[:, None]
        total = torch.where(done, 0, sizes).sum(2)
        return total - torch.where(done, 0, matched).amax(2)

    def _least(self, matched: Tensor, done: Tensor) -> Tensor:
        """(B, H): steps that it takes in any case, however phrases overlap: those of the one that lacks most."""
        return torch.where(done, 0, self.sizes[:, None] - matched).amax(2)


def room(phrases: Sequence[Sequence[int]]) -> int:
    """Tokens that a text with all phrases (at least one) has in any case, each as far within the next as it can be."""
    distinct = list(dict.fromkeys(map(tuple, phrases)))
    own = [p for p in distinct if not any(p != q and _within(p, q) for q in distinct)]
    overlaps = [max((_overlap(p, q) for q in own if q is not p), default=0) for p in own]
    return sum(map(len, own)) - sum(overlaps) + min(overlaps)  # nothing comes after the last one


def _within(short: tuple[int, ...], long: tuple[int, ...]) -> bool:
    return any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1))


def _overlap(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """How many tokens at the end of one are the begin of the other."""
    return next(n for n in range(min(len(first), len(second)), -1, -1) if first[len(first) - n :] == second[:n])


def _in_turn(bank: Tensor, alive: Tensor) -> Tensor:
    """Candidates best first, bank (B, K): what each lacks -> their order (B, K) when each bank in turn gives its best
    one that is left, the bank that lacks least first; those that are not alive last.
    """
    banks = int(bank.max()) + 1
    member = torch.nn.functional.one_hot(bank, banks) * alive[:, :, None]
    rank = (member.cumsum(1) - 1).gather(2, bank[:, :, None]).squeeze(2)
    turn = torch.where(alive, rank * banks + bank, bank.shape[1] * banks)
    return turn.argsort(dim=1, stable=True)
