"""What a stack has read, kept as keys and values, so that each later pass runs new rows alone (Shazeer, 2019, §2.4).

A prompt is read once, packed with others, and its keys are shared by all hypotheses of how it goes on: to attention
they are query rows of one sequence. A slot is one key of one prompt: first the prompt's own rows, then one for each
hypothesis at every step. Hypotheses that move (beams) move no keys: `path` says over which slots each has come, and
slots that lie on nobody's path any more are cleared away once they outnumber the others.

Shapes: B prompts, R hypotheses of each, m rows of one hypothesis in a step, Q = m · R, S slots, T rows of all prompts,
D width, N heads, H head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from didact.batch import Side
from didact.nn.attention import Context
from didact.nn.distance import DistanceTerms, gather, relate
from didact.nn.incremental import HIDDEN, OneVerb, Through
from didact.nn.kernel import Kernel
from didact.nn.transformer import contexts
from didact.packed import Packed

_SPARE = 32  # steps between two looks for slots that nobody needs


class Cache:
    """The keys and values of B prompts and of what R hypotheses of each have added, in buffers made once.

    through: the stack whose they are (no gradients, no dropout); hypotheses: R; room: rows that a hypothesis may add.
    ValueError for positions with terms of each key, which are not kept (DeBERTa's).
    """

    def __init__(self, through: Through, hypotheses: int, room: int) -> None:
        self.through = through
        self.R, self.room = hypotheses, room
        self.layers = [_Layer() for _ in through.windows]
        self.begin(torch.zeros(0, dtype=torch.int64))

    def begin(self, lengths: Tensor) -> None:
        """Forget everything; prompts of these lengths (B,) are to be filled in, or none, where all are 0.

        path (B, R, used): what is added to the logits of the slots in use, 0 or `HIDDEN`; positions, segments
        (B, used): of each slot; lengths (B,): rows that each hypothesis has read, which is the next one's position.
        """
        device, B = lengths.device, len(lengths)
        self.prompt = self.used = int(lengths.max()) if B else 0
        self.furthest = self.prompt + self.room
        slots = torch.arange(self.used, device=device)
        self.lengths = lengths
        self.positions = slots.expand(B, -1)
        self.segments = torch.zeros(B, self.used, dtype=torch.int64, device=device)
        path = torch.zeros(B, self.used, device=device).masked_fill_(slots >= lengths[:, None], HIDDEN)
        self.path = path[:, None].expand(B, self.R, -1)
        self._steps = 0

    def fill(self, side: Side) -> Tensor:
        """Read the prompts, B sequences of at least one row, as the stack would -> what it makes of them (T, D)."""
        through, packed = self.through, side.packed
        side = Side(packed, side.visibility.unless_said(through.visibility))
        x = through.embed(packed)
        sequence, starts = packed.sequence_ids(), packed.cu_seqlens[:-1].long()
        place = torch.arange(len(sequence), device=x.device) - starts[sequence]
        self.begin(packed.cu_seqlens.diff().long())
        if packed.segments is not None:
            self.segments[sequence, place] = packed.segments
        own = contexts(through.stack, through.scheme, through.windows, 0.0, side, x)
        for i, window in enumerate(through.windows):
            context = own[window]
            keep = _Keep(context.kernel, self, self.layers[i], sequence, place)
            x = through.layer(i, x, Context(keep, context.plan, context.distance, context.rotation, context.relative))
        return through.final(x)

    def read(self, tokens: Tensor, kept: int = 1, segment: int | None = None) -> Tensor:
        """Read m new rows of every hypothesis, tokens (B, m, R): the j-th sees what its hypothesis has read and its own
        rows up to itself. The first `kept` of them stay, the others are forgotten. segment: of all. -> (B, m, R, D).
        """
        through = self.through
        B, m, R = tokens.shape
        step = self._step(m, tokens.device)
        positions = step.positions.flatten()
        packed = Packed(
            tokens=tokens.flatten(),
            positions=positions,
            cu_seqlens=torch.arange(0, B * m * R + 1, m * R, dtype=torch.int32, device=tokens.device),
            max_seqlen=self.furthest,
            segments=None if segment is None else torch.full_like(positions, segment),
        )
        x = through.embed(packed)
        terms, relative = through.scheme.distance(), through.scheme.relative(self.furthest)
        slots = torch.cat((self.positions, step.positions), 1)
        segments = torch.cat((self.segments, torch.full_like(step.positions, segment or 0)), 1)
        masks = {window: _mask(step, slots, window, terms) for window in dict.fromkeys(through.windows)}
        for i, window in enumerate(through.windows):
            attend = _Attend(self, self.layers[i], step, slots, segments, masks[window])
            rotation = through.scheme.rotation(positions, local=window is not None)
            x = through.layer(i, x, Context(attend, None, None, rotation, relative))
        if kept:
            last, until = slice((kept - 1) * R, kept * R), self.used + kept * R
            self.path = step.path[:, last, :until]
            self.positions, self.segments = slots[:, :until], segments[:, :until]
            self.used, self.lengths = until, self.lengths + kept
        return through.final(x).view(B, m, R, -1)

    @property
    def slots(self) -> int:
        """Slots of each buffer: those of the longest prompt, of every step, and R for rows that do not stay."""
        return self.prompt + self.R * (self.room + 1)

    def buffer(self, like: Tensor) -> Tensor:
        """One layer's (2, B, N, S, H), for rows like these (T, 3, N, H)."""
        _, _, N, H = like.shape
        return like.new_empty(2, len(self.lengths), N, self.slots, H)

    def move(self, parents: Tensor) -> None:
        """Hypothesis r of prompt b goes on where hypothesis parents[b, r] (B, R) stands."""
        self.path = self.path.gather(1, parents[:, :, None].expand(-1, -1, self.used))

    def keep(self, prompts: Tensor) -> None:
        """Only these prompts (n,) go on, in this order."""
        for layer in self.layers:
            old = layer.kv[:, :, :, : self.used]
            layer.kv = layer.kv.new_empty(2, len(prompts), *layer.kv.shape[2:])
            layer.kv[:, :, :, : self.used] = old.index_select(1, prompts)
        self.through.keep(prompts)
        self.path, self.positions = self.path[prompts], self.positions[prompts]
        self.segments, self.lengths = self.segments[prompts], self.lengths[prompts]

    def _step(self, m: int, device: torch.device) -> _Step:
        """Where m new rows of each hypothesis stand and what they see."""
        R, Q = self.R, m * self.R
        self._steps += 1
        if self._steps % _SPARE == 0 or self.used + Q > self.slots:
            self._tidy()
        if self.used + Q > self.slots:
            raise ValueError(f"no room for {Q} more slots beside {self.used} of {self.slots}")
        number = torch.arange(Q, device=device)
        hypothesis, column = number % R, number // R
        own = (hypothesis[:, None] == hypothesis) & (column[:, None] >= column)
        new = torch.zeros(Q, Q, device=device).masked_fill_(~own, HIDDEN).expand(len(self.path), Q, Q)
        path = torch.cat((self.path.repeat(1, m, 1), new), 2)
        return _Step(path, self.lengths[:, None] + column)

    def _tidy(self) -> None:
        """Clear away the slots of steps that lie on nobody's path, where they are more than the others."""
        alive = (self.path[:, :, self.prompt :] == 0).any(1)
        most = int(alive.sum(1).max()) if alive.shape[1] else 0
        if 2 * most > alive.shape[1] or alive.shape[1] <= self.R * 8:
            return
        # A prompt with fewer than the most keeps some dead ones, which stay unseen.
        own = (~alive).int().sort(dim=1, stable=True).indices[:, :most] + self.prompt
        which = torch.cat((torch.arange(self.prompt, device=own.device).expand(len(own), -1), own), 1)
        self.used = which.shape[1]
        for layer in self.layers:
            at = own[None, :, None, :, None].expand(2, -1, layer.kv.shape[2], -1, layer.kv.shape[4])
            layer.kv[:, :, :, self.prompt : self.used] = layer.kv.gather(3, at)
        self.path = self.path.gather(2, which[:, None].expand(-1, self.R, -1))
        self.positions, self.segments = self.positions.gather(1, which), self.segments.gather(1, which)


@dataclass
class _Layer:
    """kv (2, B, N, S, H): a layer's keys and values, empty before the first ones."""

    kv: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class _Step:
    """path (B, Q, used + Q): what is added to the logits of Q new rows; positions (B, Q): where these stand."""

    path: Tensor
    positions: Tensor


@dataclass(frozen=True)
class _Keep(OneVerb):
    """A kernel that attends as `kernel` does and keeps keys and values of the pack's rows, the sequence and the place
    in it of each being known.
    """

    kernel: Kernel
    cache: Cache
    layer: _Layer
    sequence: Tensor
    place: Tensor

    def __call__(
        self,
        qkv: Tensor,
        plan: Any,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        if distance is not None and distance.by_key is not None:
            raise ValueError("terms of each key are not kept")
        kv = self.cache.buffer(qkv)
        kv[:, :, :, : self.cache.prompt] = 0.0  # past a shorter prompt's end: weight 0 times what is there may be NaN
        kv.permute(1, 3, 0, 2, 4)[self.sequence, self.place] = qkv[:, 1:]
        self.layer.kv = kv
        return self.kernel(qkv, plan, distance, dropout, scale)


@dataclass(frozen=True)
class _Attend(OneVerb):
    """A kernel for new rows: their keys and values go behind those of the layer's buffer, and they attend over all.

    slots, segments (B, used + Q): positions and segments of all; mask: what is added to all logits, None = nothing.
    """

    cache: Cache
    layer: _Layer
    step: _Step
    slots: Tensor
    segments: Tensor
    mask: Tensor | None

    def __call__(
        self,
        qkv: Tensor,
        plan: None,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        del plan, dropout
        B, Q = self.step.positions.shape
        if not self.cache.used:
            self.layer.kv = self.cache.buffer(qkv)
        rows, used = qkv.unflatten(0, (B, Q)), self.cache.used
        self.layer.kv[:, :, :, used : used + Q] = rows[:, :, 1:].permute(2, 0, 3, 1, 4)
        k, v = self.layer.kv[:, :, :, : used + Q]
        mask = self.mask
        if distance is not None:
            mask = _sum(mask, self._terms(distance))
        out = F.scaled_dot_product_attention(rows[:, :, 0].transpose(1, 2), k, v, attn_mask=mask, scale=scale)
        return out.transpose(1, 2).flatten(0, 1)

    def _terms(self, distance: DistanceTerms) -> Tensor | None:
        """What a layer's own terms add, (B, N, Q, S)."""
        B, Q = self.step.positions.shape
        added = None
        if distance.by_query is not None:
            by = distance.by_query.view(B, Q, *distance.by_query.shape[1:]).transpose(1, 2)
            i = relate(distance.index, self.step.positions[:, :, None], self.slots[:, None])
            added = gather(by, i[:, None])
        if distance.by_same is not None:
            by = distance.by_same.view(B, Q, -1).transpose(1, 2)
            same = self.segments[:, -Q:, None] == self.segments[:, None]
            added = _sum(added, by[..., None] * same[:, None])
        return added


def _mask(step: _Step, slots: Tensor, window: int | None, terms: DistanceTerms | None) -> Tensor | None:
    """What is added to the logits of every layer of this window: (B, 1 or N, Q, S), None where it is nothing."""
    mask = step.path[:, None]
    if window is not None:
        far = (step.positions[:, :, None] - slots[:, None]).abs() > window
        mask = mask.masked_fill(far[:, None], HIDDEN)
    if terms is not None and terms.by_distance is not None:
        i = terms.relate(step.positions[:, :, None], slots[:, None])
        return terms.by_distance[:, i].transpose(0, 1) + mask
    return mask if bool(mask.any()) else None


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
