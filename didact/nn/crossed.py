"""Cross-attention on any device: rows of one pack look at the rows of another, sequence b at sequence b, all of it.

Sequences are laid side by side in groups, each one call of PyTorch's flash attention on a CPU. A group may be ragged:
queries are filled up with rows that nobody reads, keys with rows that a mask hides. Filling costs products, and a call
costs time whatever its size; a sequence joins a group where it wastes no more than CALL products of rows. Measured,
forward and backward on one core, fp32: 128 sequences of 5 to 20 rows, 4 heads of 32: a call each 45 ms, one padded
call 26 ms, groups 20 ms; 48 of 8 to 40 rows, 8 heads of 64: 45, 66 and 35 ms; 16 of 20 to 128, 6 heads of 64: 29, 81
and 47 ms, so there a call each is best, which is what the rule comes to.

To compiled code the whole is one opaque operator whose shapes depend on the two packs' rows alone.

Shapes: T rows that look, S rows that are looked at, N heads, H head width, B sequences, G groups; a group has n
sequences, filled up to Q and K rows; P and R rows of all groups, filled up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from didact.nn import flash
from didact.nn.spare import filled
from didact.nn.written import Dropout, exact, probabilities, slopes
from didact.packed import Packed

CALL = 1000  # products of rows (queries x keys) that may be wasted to save a call


@dataclass(frozen=True)
class Plan:
    """How two packs are grouped; made once per forward, shared by all layers.

    table (2 + G, 3) int64, on the host: row 0: whether queries and keys lie in the groups as in their packs; row 1: T
    and S; then for each group its sequences and its rows Q and K. lengths: of the keys of each sequence, in the groups'
    order, on the host; q_at (T,) and k_at (S,): where each row of its pack lies in the groups; both may be longer, by
    spare rows that lie nowhere (`nn.spare`).
    """

    table: Tensor
    lengths: Tensor
    q_at: Tensor
    k_at: Tensor

    def filled(self, queries: int, keys: int) -> Plan:
        """With so many spare rows behind those that look, and those that are looked at."""
        return replace(self, q_at=filled(self.q_at, queries), k_at=filled(self.k_at, keys))


def plan(queries: Packed, keys: Packed) -> Plan:
    """Waits for the device where cu_seqlens live on one. ValueError for packs that differ in their sequences."""
    q_starts, k_starts = queries.cu_seqlens.tolist(), keys.cu_seqlens.tolist()
    if len(q_starts) != len(k_starts):
        raise ValueError(f"{len(q_starts) - 1} sequences look at {len(k_starts) - 1}")
    q = [b - a for a, b in itertools.pairwise(q_starts)]
    k = [b - a for a, b in itertools.pairwise(k_starts)]
    groups = group(q, k)
    order = [b for some in groups for b in some]
    rows = [(len(some), max(q[b] for b in some), max(k[b] for b in some)) for some in groups]
    q_at, q_plain = _places(q_starts, groups, [(n, wide) for n, wide, _ in rows])
    k_at, k_plain = _places(k_starts, groups, [(n, wide) for n, _, wide in rows])
    device = queries.positions.device
    return Plan(
        torch.tensor([(q_plain, k_plain, 0), (q_starts[-1], k_starts[-1], 0), *rows], dtype=torch.int64),
        torch.tensor([k[b] for b in order], dtype=torch.int64),
        q_at.to(device),
        k_at.to(device),
    )


def group(q: list[int], k: list[int]) -> list[list[int]]:
    """Lengths of queries and keys (B,) -> groups of sequences, by the length of their keys; those without queries are
    in none, those without keys in groups of their own.
    """
    order = sorted((b for b in range(len(q)) if q[b]), key=lambda b: (k[b], q[b], b))
    groups: list[list[int]] = []
    wide = area = 0  # of the last group
    for b in order:
        if groups:
            n, tall = len(groups[-1]) + 1, max(wide, q[b])
            if (n * tall * k[b] - area - q[b] * k[b] <= CALL) and (k[groups[-1][0]] > 0) == (k[b] > 0):
                groups[-1].append(b)
                wide, area = tall, n * tall * k[b]
                continue
        groups.append([b])
        wide, area = q[b], q[b] * k[b]
    return groups


def _places(starts: list[int], groups: list[list[int]], sizes: list[tuple[int, int]]) -> tuple[Tensor, bool]:
    """Where each row of the pack lies in groups of sequences of one size each; and whether that is where it was."""
    at = torch.full((starts[-1],), -1, dtype=torch.int64)
    begin = 0
    for some, (n, wide) in zip(groups, sizes, strict=True):
        for number, b in enumerate(some):
            first = begin + number * wide
            at[starts[b] : starts[b + 1]] = torch.arange(first, first + starts[b + 1] - starts[b])
        begin += n * wide
    plain = begin == len(at) and bool((at == torch.arange(begin)).all())
    at[at < 0] = begin  # keys of a sequence without queries: behind all groups, where nobody looks
    return at, plain


@torch.library.custom_op("didact::crossed", mutates_args=())
def attend(
    q: Tensor,
    kv: Tensor,
    table: Tensor,
    lengths: Tensor,
    q_at: Tensor,
    k_at: Tensor,
    dropout: float,
    seed: Tensor | None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """q (T, N, H), kv (S, 2, N, H) -> (T, N, H); and (T, N): each softmax's log-denominator, where flash attention's
    backward wants it.
    """
    laid = _Laid(table, lengths, q_at, k_at)
    q_P, kv_R = laid.queries(q), laid.keys(kv)
    fused, drop = _fused(q, dropout), Dropout.seeded(dropout, seed)
    out, lse = q_P.new_zeros(q_P.shape), q_P.new_zeros(q_P.shape[:2], dtype=exact(q))
    for at in laid.groups():
        if not at.K:
            continue
        qs, ks, vs = at.split(q_P, kv_R)
        hidden = at.hidden(q)
        if fused:
            o, s = flash.forward(qs, ks, vs, _mask(hidden, q.dtype), scale=scale)
            at.heads(lse).copy_(s)
        else:
            p = probabilities(qs, ks, scale, None, hidden)
            o = (p if drop is None else p * drop(p)).to(vs.dtype) @ vs
        at.heads(out).copy_(o)
    return laid.back(out), laid.back(lse)


@attend.register_fake
def _(q: Tensor, _kv: Tensor, *_others: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:2], dtype=exact(q))


@torch.library.custom_op("didact::crossed_backward", mutates_args=())
def attend_backward(
    grad: Tensor,
    out: Tensor,
    lse: Tensor,
    q: Tensor,
    kv: Tensor,
    table: Tensor,
    lengths: Tensor,
    q_at: Tensor,
    k_at: Tensor,
    dropout: float,
    seed: Tensor | None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """-> gradients of q and kv."""
    laid = _Laid(table, lengths, q_at, k_at)
    q_P, kv_R, grad_P, out_P, lse_P = laid.queries(q), laid.keys(kv), *map(laid.queries, (grad, out, lse))
    fused, drop = _fused(q, dropout), Dropout.seeded(dropout, seed)
    d_q, d_kv = torch.zeros_like(q_P), torch.zeros_like(kv_R)
    for at in laid.groups():
        if not at.K:
            continue
        parts, hidden, d_out = at.split(q_P, kv_R), at.hidden(q), at.heads(grad_P)
        if fused:
            known = at.heads(out_P), at.heads(lse_P)
            found = flash.backward(d_out, *parts, *known, _mask(hidden, q.dtype), scale=scale)
        else:
            p = probabilities(parts[0], parts[1], scale, None, hidden)
            *found, _ = slopes(d_out, *parts, p, scale, None if drop is None else drop(p))
        for to, value in zip(at.split(d_q, d_kv), found, strict=True):
            to.copy_(value)
    return laid.back(d_q), laid.back_keys(d_kv)


@attend_backward.register_fake
def _(_grad: Tensor, _out: Tensor, _lse: Tensor, q: Tensor, kv: Tensor, *_others: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(kv)


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, dropout, seed, scale = inputs
    ctx.save_for_backward(*output, *tensors, seed)
    ctx.numbers = dropout, scale  # type: ignore[attr-defined]


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, seed = ctx.saved_tensors  # type: ignore[attr-defined]
    dropout, scale = ctx.numbers  # type: ignore[attr-defined]
    d_q, d_kv = attend_backward(grad, *tensors, dropout, seed, scale)
    return d_q, d_kv, *(None,) * 7


attend.register_autograd(_differentiate, setup_context=_save)


@dataclass(frozen=True)
class _Group:
    """One group: its first rows, and how many sequences of Q and K rows; keys: their lengths."""

    q_start: int
    k_start: int
    n: int
    Q: int
    K: int
    lengths: Tensor

    def heads(self, values_P: Tensor) -> Tensor:
        """values (P, N, …) -> the group's (n, N, Q, …), a view."""
        return values_P[self.q_start : self.q_start + self.n * self.Q].unflatten(0, (self.n, self.Q)).transpose(1, 2)

    def split(self, q_P: Tensor, kv_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> q (n, N, Q, H), k and v (n, N, K, H), views."""
        rows = kv_R[self.k_start : self.k_start + self.n * self.K].unflatten(0, (self.n, self.K))
        k, v = rows.permute(2, 0, 3, 1, 4).unbind(0)
        return self.heads(q_P), k, v

    def hidden(self, like: Tensor) -> Tensor | None:
        """(n, 1, 1, K) bool, true for keys that only fill up; None where there are none."""
        if bool((self.lengths == self.K).all()):
            return None
        filled = torch.arange(self.K)[None] >= self.lengths[:, None]
        return filled[:, None, None].to(like.device)


class _Laid:
    """A plan as the operator gets it: rows go to their groups and back."""

    def __init__(self, table: Tensor, lengths: Tensor, q_at: Tensor, k_at: Tensor) -> None:
        (self.q_plain, self.k_plain, _), (T, S, _), *self.sizes = table.tolist()
        self.lengths, self.q_at, self.k_at = lengths, q_at[:T], k_at[:S]
        self.q_spare, self.k_spare = len(q_at) - T, len(k_at) - S
        self.P, self.R = (sum(n * size[i] for n, *size in self.sizes) for i in range(2))

    def groups(self) -> Iterator[_Group]:
        q_start = k_start = first = 0
        for n, Q, K in self.sizes:
            yield _Group(q_start, k_start, n, Q, K, self.lengths[first : first + n])
            q_start, k_start, first = q_start + n * Q, k_start + n * K, first + n

    def queries(self, values: Tensor) -> Tensor:
        """values (T, …), spare rows behind -> (P, …), zeros between."""
        values = values[: len(self.q_at)]
        if self.q_plain:
            return values
        return values.new_zeros(self.P, *values.shape[1:]).index_copy_(0, self.q_at, values)

    def keys(self, values: Tensor) -> Tensor:
        """values (S, …), spare rows behind -> (R + 1, …), zeros between; the last row is of keys nobody looks at."""
        values = values[: len(self.k_at)]
        if self.k_plain:
            return values
        return values.new_zeros(self.R + 1, *values.shape[1:]).index_copy_(0, self.k_at, values)

    def back(self, values: Tensor) -> Tensor:
        """values (P, …) -> (T, …), spare rows behind."""
        return filled(values if self.q_plain else values.index_select(0, self.q_at), self.q_spare)

    def back_keys(self, values: Tensor) -> Tensor:
        """values (R + 1, …) -> (S, …), spare rows behind."""
        return filled(values if self.k_plain else values.index_select(0, self.k_at), self.k_spare)


def _fused(q: Tensor, dropout: float) -> bool:
    return q.device.type == "cpu" and dropout == 0.0


def _mask(hidden: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """(n, 1, 1, K): 0, or -inf for what is hidden."""
    return None if hidden is None else torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
