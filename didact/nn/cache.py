"""What a stack has read, kept as keys and values, so that each later pass runs new rows alone (Shazeer, 2019, §2.4).

A prompt is read once, packed with others, and its keys are shared by all hypotheses of how it goes on: to attention
they are query rows of one sequence. A slot is one key of one prompt: first the prompt's own rows, then one for each
hypothesis at every step. Hypotheses that move (beams) move no keys: `path` says over which slots each has come, and
slots that lie on nobody's path any more are cleared away once they outnumber the others.

Shapes: B prompts, R hypotheses of each, m rows of one hypothesis in a step, Q = m · R, S slots, T rows of all prompts,
D width, N heads, H head width.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Side
from didact.nn.attention import Context
from didact.nn.distance import DistanceTerms, gather, relate
from didact.nn.kernel import Kernel, choose, named
from didact.nn.transformer import Transformer
from didact.packed import Packed
from didact.visibility import Visibility

M = TypeVar("M", bound=nn.Module)
HIDDEN = float("-inf")  # what is added to the logit of a slot that is not seen
_SPARE = 32  # steps between two looks for slots that nobody needs


class Cache:
    """The keys and values of B prompts and of what R hypotheses of each have added, in buffers made once.

    core: whose layers they are of (no gradients, no dropout); hypotheses: R; room: rows that a hypothesis may add.
    Raises ValueError for positions whose keys are asked by every later row anew (DeBERTa's).
    """

    def __init__(self, core: Transformer, hypotheses: int, room: int) -> None:
        self.core = core
        self.R, self.room = hypotheses, room
        self.buffers: list[Tensor] = []
        """of each layer (2, B, N, S, H): keys and values"""
        self.path = torch.empty(0)
        """(B, R, used): what is added to the logits of the slots in use, 0 or `HIDDEN`"""
        self.positions = torch.empty(0)
        self.segments = torch.empty(0)
        self.lengths = torch.empty(0)
        """(B,): rows that each hypothesis has read, the prompt's included, which is the next one's position"""
        self.prompt = self.used = self.furthest = self._steps = 0

    def fill(self, side: Side) -> Tensor:
        """Read the prompts, B sequences of at least one row, as `core` would -> what it makes of them (T, D)."""
        core, packed = self.core, side.packed
        seen = side.visibility.unless_said(core.visibility)
        x = core.embedding(packed)
        device, sequence = x.device, packed.sequence_ids()
        starts, lengths = packed.cu_seqlens[:-1].long(), packed.cu_seqlens.diff().long()
        place = torch.arange(len(sequence), device=device) - starts[sequence]
        B, L = len(lengths), int(lengths.max())
        self.prompt = self.used = L
        self.furthest = L + self.room
        slots = torch.arange(L, device=device)
        self.lengths = lengths
        self.positions = slots.expand(B, L)
        self.segments = torch.zeros(B, L, dtype=torch.int64, device=device)
        if packed.segments is not None:
            self.segments[sequence, place] = packed.segments
        path = torch.zeros(B, L, device=device).masked_fill_(slots >= lengths[:, None], HIDDEN)
        self.path = path[:, None].expand(B, self.R, L)
        self.buffers = []
        position = core.embedding.position
        distance, relative = position.distance(), position.relative(packed.max_seqlen)
        plans: dict[int | None, tuple[Kernel, Any]] = {}
        for window in dict.fromkeys(core.windows):
            rule = seen.within(window)
            added = distance is not None or relative is not None
            kernel = choose(device, x.dtype, rule, added) if core.kernel is None else named(core.kernel)
            plans[window] = kernel, kernel.plan(packed, rule)
        for i, window in enumerate(core.windows):
            kernel, plan = plans[window]
            keep = _Keep(kernel, self, sequence, place)
            rotation = position.rotation(packed.positions, local=window is not None)
            x = _block(core, i)(x, Context(keep, plan, distance, rotation, relative))
        return core.final_norm(x)

    def read(self, tokens: Tensor, kept: int = 1, segment: int | None = None) -> Tensor:
        """Read m new rows of every hypothesis, tokens (B, m, R): the j-th sees what its hypothesis has read and its own
        rows up to itself. The first `kept` of them stay, the others are forgotten. segment: of all. -> (B, m, R, D).
        """
        core = self.core
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
        x = core.embedding(packed)
        scheme = core.embedding.position
        terms, relative = scheme.distance(), scheme.relative(self.furthest)
        slots = torch.cat((self.positions, step.positions), 1)
        segments = torch.cat((self.segments, torch.full_like(step.positions, segment or 0)), 1)
        masks = {window: _mask(step, slots, window, terms) for window in dict.fromkeys(core.windows)}
        for i, window in enumerate(core.windows):
            attend = _Attend(self.buffers[i], self.used, step, slots, segments, masks[window])
            rotation = scheme.rotation(positions, local=window is not None)
            x = _block(core, i)(x, Context(attend, None, None, rotation, relative))
        if kept:
            last, until = slice((kept - 1) * R, kept * R), self.used + kept * R
            self.path = step.path[:, last, :until]
            self.positions, self.segments = slots[:, :until], segments[:, :until]
            self.used, self.lengths = until, self.lengths + kept
        return core.final_norm(x).view(B, m, R, -1)

    def move(self, parents: Tensor) -> None:
        """Hypothesis r of prompt b goes on where hypothesis parents[b, r] (B, R) stands."""
        self.path = self.path.gather(1, parents[:, :, None].expand(-1, -1, self.used))

    def keep(self, prompts: Tensor) -> None:
        """Only these prompts (n,) go on, in this order."""
        for i, kv in enumerate(self.buffers):
            _, _, N, S, H = kv.shape
            self.buffers[i] = kv.new_empty(2, len(prompts), N, S, H)
            self.buffers[i][:, :, :, : self.used] = kv[:, :, :, : self.used].index_select(1, prompts)
        self.path, self.positions = self.path[prompts], self.positions[prompts]
        self.segments, self.lengths = self.segments[prompts], self.lengths[prompts]

    def _step(self, m: int, device: torch.device) -> _Step:
        """Where m new rows of each hypothesis stand and what they see."""
        R, Q = self.R, m * self.R
        self._steps += 1
        room = self.buffers[0].shape[3]
        if self._steps % _SPARE == 0 or self.used + Q > room:
            self._tidy()
        if self.used + Q > room:
            raise ValueError(f"no room for {Q} more slots beside {self.used} of {room}")
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
        for kv in self.buffers:
            at = own[None, :, None, :, None].expand(2, -1, kv.shape[2], -1, kv.shape[4])
            kv[:, :, :, self.prompt : self.used] = kv.gather(3, at)
        self.path = self.path.gather(2, which[:, None].expand(-1, self.R, -1))
        self.positions, self.segments = self.positions.gather(1, which), self.segments.gather(1, which)


@dataclass(frozen=True)
class _Step:
    """path (B, Q, used + Q): what is added to the logits of Q new rows; positions (B, Q): where these stand."""

    path: Tensor
    positions: Tensor


@dataclass(frozen=True)
class _Keep:
    """A kernel that attends as `kernel` does and keeps keys and values of the pack's rows, the sequence and the place
    in it of each being known.
    """

    kernel: Kernel
    cache: Cache
    sequence: Tensor
    place: Tensor
    name: str = "keeping"

    def plan(self, packed: Packed, visibility: Visibility) -> Any:
        return self.kernel.plan(packed, visibility)

    def __call__(self, qkv: Tensor, plan: Any, distance: DistanceTerms | None = None, dropout: float = 0.0) -> Tensor:
        if distance is not None and distance.by_key is not None:
            raise ValueError("terms of each key are not kept")
        cache = self.cache
        _, _, N, H = qkv.shape
        kv = qkv.new_empty(2, len(cache.lengths), N, cache.prompt + cache.R * (cache.room + 1), H)
        kv[:, :, :, : cache.prompt] = 0.0  # past a shorter prompt's end: weight 0 times what memory holds may be NaN
        kv.permute(1, 3, 0, 2, 4)[self.sequence, self.place] = qkv[:, 1:]
        cache.buffers.append(kv)
        return self.kernel(qkv, plan, distance, dropout)


@dataclass(frozen=True)
class _Attend:
    """A kernel for new rows: their keys and values go behind those of the layer's buffer, and they attend over all.

    slots, segments (B, used + Q): positions and segments of all; mask: what is added to all logits, None = nothing.
    """

    buffer: Tensor
    used: int
    step: _Step
    slots: Tensor
    segments: Tensor
    mask: Tensor | None
    name: str = "attending"

    def plan(self, packed: Packed, visibility: Visibility) -> None:
        del packed, visibility

    def __call__(self, qkv: Tensor, plan: None, distance: DistanceTerms | None = None, dropout: float = 0.0) -> Tensor:
        del plan, dropout
        B, Q = self.step.positions.shape
        _, _, N, H = qkv.shape
        rows, until = qkv.view(B, Q, 3, N, H), self.used + Q
        self.buffer[:, :, :, self.used : until] = rows[:, :, 1:].permute(2, 0, 3, 1, 4)
        k, v = self.buffer[:, :, :, :until]
        mask = self.mask
        if distance is not None:
            mask = _sum(mask, self._terms(distance))
        out = F.scaled_dot_product_attention(rows[:, :, 0].transpose(1, 2), k, v, attn_mask=mask)
        return out.transpose(1, 2).reshape(B * Q, N, H)

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


def _block(core: Transformer, i: int) -> nn.Module:
    return core.blocks[i * len(core.blocks) // len(core.windows)]


def for_steps(module: M) -> M:
    """The same module for inference, its parameters shared but for the matrices of dense layers, laid out by column.

    A step multiplies few rows. (Measured, 8 rows, 384 to 1152, one core with AVX-512: 0.14 ms by column, 0.29 by row;
    32 rows: 0.23 and 0.33.)
    """
    shared = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
    own = copy.deepcopy(module, shared)
    for part in own.modules():
        if isinstance(part, nn.Linear) and part.weight.shape[0] <= 16 * part.weight.shape[1]:
            part.weight = nn.Parameter(part.weight.detach().t().contiguous().t(), requires_grad=False)
    return own.eval()
