"""The `grouped` kernel: sequences of equal length are attended together, so nothing is padded. Runs on any device.

The packer lays sequences of equal length next to each other, so a group is a view of the fused projection, not a copy.
(Measured on a CPU: padding near lengths to one does not beat a call for each length, even at 50 lengths in a pack.)
On a CPU, without distance terms and dropout, a group is one call of PyTorch's flash attention: with no mask where
everybody sees everybody, else with the rule as a float mask. Otherwise attention is written out, group by group. To
compiled code the whole is one opaque operator whose shapes depend on T alone, so ragged packs never recompile it.

Shapes: T rows, N heads, H head width; a group has n sequences of L rows; G groups; I values of the distance index.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.nn.distance import DistanceTerms, gather, relate
from didact.packed import Packed
from didact.visibility import Visibility

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default

Group = tuple[int, int, int]  # first row, sequences, rows of each


@dataclass(frozen=True)
class Plan:
    """How a pack is grouped; made once per forward, shared by all layers of one window.

    table (2 + G, 3) int64, on the host; numbers that change from pack to pack are data, lest compiled code be compiled
    again: row 0: whether rows are first reordered, whether positions are each sequence's own 0, 1, 2 …, whether the
    rule is causal; row 1: the window, -1 = none; then for each group its first row, its sequences, their length.
    order (T,): which row of the pack is the i-th of the reordered rows.
    positions, segments, rank, reach (T,): of the reordered rows; the last two are None for rules known by name.
    """

    table: Tensor
    order: Tensor
    positions: Tensor
    segments: Tensor | None
    rank: Tensor | None
    reach: Tensor | None


def group(lengths: list[int]) -> tuple[list[Group], list[int] | None]:
    """Lengths of the sequences in pack order -> groups of neighbours of equal length, and None; or, where sorting the
    sequences by length first saves at least a third of the groups, those of the sorted pack, and the sequences' order.
    """
    runs = _runs(lengths)
    if 3 * len(set(lengths)) > 2 * len(runs):
        return runs, None
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return _runs([lengths[b] for b in order]), order


def _runs(lengths: list[int]) -> list[Group]:
    runs, start = [], 0
    for length, same in itertools.groupby(lengths):
        n = len(list(same))
        if length:
            runs.append((start, n, length))
        start += n * length
    return runs


@dataclass(frozen=True)
class Grouped:
    """Attention over groups of sequences of equal length; any device, any rule, any terms, dropout."""

    name: str = "grouped"

    def plan(self, packed: Packed, visibility: Visibility) -> Plan:
        """Waits for the device where cu_seqlens lives on one: once per forward."""
        starts = packed.cu_seqlens.tolist()
        groups, order = group([b - a for a, b in itertools.pairwise(starts)])
        positions, segments, rank, reach = packed.positions, packed.segments, visibility.rank, visibility.reach
        causal, window = visibility.kind == "causal", -1 if visibility.window is None else visibility.window
        plain = (causal or window >= 0) and positions.device.type == "cpu" and _plain(packed)
        if order is None:
            rows = torch.arange(starts[-1], device=positions.device)
        else:
            rows = torch.cat([torch.arange(starts[b], starts[b + 1]) for b in order]).to(positions.device)
            positions = positions[rows]
            segments = None if segments is None else segments[rows]
            rank = None if rank is None else rank[rows]
            reach = None if reach is None else reach[rows]
        table = torch.tensor([(order is not None, plain, causal), (window, 0, 0), *groups], dtype=torch.int64)
        return Plan(table, rows, positions, segments, rank, reach)

    def __call__(self, qkv: Tensor, plan: Plan, distance: DistanceTerms | None = None, dropout: float = 0.0) -> Tensor:
        """qkv (T, 3, N, H) -> (T, N, H)."""
        # The seed is drawn outside the operator, which so stays a pure function: backward draws the same mask again.
        seed = torch.randint(2**62, (1,), device="cpu") if dropout > 0 else None
        index, by_distance, by_query, by_key, segments = None, None, None, None, None
        if distance is not None:
            index, by_distance, by_query, by_key = (
                distance.index,
                distance.by_distance,
                distance.by_query,
                distance.by_key,
            )
            segments = plan.segments if index.ndim == 2 else None
        rule = (plan.table, plan.order, plan.positions, segments, plan.rank, plan.reach)
        return _attend(qkv, *rule, index, by_distance, by_query, by_key, dropout, seed)[0]


def _plain(packed: Packed) -> bool:
    """Whether positions are each sequence's own 0, 1, 2 …, so that masks may be left out where lengths allow it."""
    cu = packed.cu_seqlens.long()
    own = torch.arange(packed.positions.shape[0]) - torch.repeat_interleave(cu[:-1], cu.diff())
    return bool((packed.positions == own).all())


@torch.library.custom_op("didact::grouped", mutates_args=())
def _attend(
    qkv: Tensor,
    table: Tensor,
    order: Tensor,
    positions: Tensor,
    segments: Tensor | None,
    rank: Tensor | None,
    reach: Tensor | None,
    index: Tensor | None,
    by_distance: Tensor | None,
    by_query: Tensor | None,
    by_key: Tensor | None,
    dropout: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """-> (T, N, H), and (T, N): the logarithm of each softmax's denominator (0 for a row that sees nothing), in the
    order of the groups.
    """
    rule = _Rule(table, positions, segments, rank, reach, index)
    if rule.reordered:
        qkv = qkv.index_select(0, order)
        by_query, by_key = _reordered(by_query, order), _reordered(by_key, order)
    flash = qkv.device.type == "cpu" and index is None and dropout == 0.0
    if flash and len(rule.groups) == 1:  # the whole pack in one call: its results are already where they belong
        (at,) = rule.groups
        o, s = _flash(*_split(qkv, at), 0.0, rule.triangle(at), attn_mask=_float_mask(rule.hidden(at), qkv.dtype))
        return o.transpose(1, 2).flatten(0, 1), s.transpose(1, 2).flatten(0, 1)
    T, _, N, H = qkv.shape
    out, lse = qkv.new_empty(T, N, H), qkv.new_empty(T, N, dtype=_exact(qkv))
    draw = _generator(seed)
    for at in rule.groups:
        q, k, v = _split(qkv, at)
        if flash:
            o, s = _flash(q, k, v, 0.0, rule.triangle(at), attn_mask=_float_mask(rule.hidden(at), qkv.dtype))
        else:
            p, s = _weights(q, k, at, rule, by_distance, by_query, by_key)
            if draw is not None:
                p = p * _kept(p, dropout, draw)
            o = p.to(qkv.dtype) @ v
        _heads(out, at).copy_(o)
        _heads(lse, at).copy_(s)
    if rule.reordered:
        out = torch.empty_like(out).index_copy_(0, order, out)
    return out, lse


@_attend.register_fake
def _(qkv: Tensor, *_others: object) -> tuple[Tensor, Tensor]:
    T, _, N, H = qkv.shape
    return qkv.new_empty(T, N, H), qkv.new_empty(T, N, dtype=_exact(qkv))


@torch.library.custom_op("didact::grouped_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    out: Tensor,
    lse: Tensor,
    qkv: Tensor,
    table: Tensor,
    order: Tensor,
    positions: Tensor,
    segments: Tensor | None,
    rank: Tensor | None,
    reach: Tensor | None,
    index: Tensor | None,
    by_distance: Tensor | None,
    by_query: Tensor | None,
    by_key: Tensor | None,
    dropout: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> gradients of qkv, by_distance, by_query and by_key (an empty tensor for each of the three that is None)."""
    rule = _Rule(table, positions, segments, rank, reach, index)
    if rule.reordered:
        grad, out, qkv = (x.index_select(0, order) for x in (grad, out, qkv))
        by_query, by_key = _reordered(by_query, order), _reordered(by_key, order)
    d_qkv = torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)
    terms = (by_distance, by_query, by_key)
    d_terms = [qkv.new_zeros(0) if by is None else torch.zeros_like(by, dtype=_exact(by)) for by in terms]
    flash = qkv.device.type == "cpu" and index is None and dropout == 0.0
    draw = _generator(seed)
    for at in rule.groups:
        q, k, v = _split(qkv, at)
        d_o = _heads(grad, at)
        d_q, d_k, d_v = _split(d_qkv, at)
        if flash:
            mask = _float_mask(rule.hidden(at), qkv.dtype)
            results = (_heads(out, at), _heads(lse, at))
            gradients = _flash_backward(d_o, q, k, v, *results, 0.0, rule.triangle(at), attn_mask=mask)
            for to, value in zip((d_q, d_k, d_v), gradients, strict=True):
                to.copy_(value)
            continue
        p, _ = _weights(q, k, at, rule, by_distance, by_query, by_key)
        d_p = (d_o @ v.transpose(-1, -2)).to(p.dtype)
        kept = None if draw is None else _kept(p, dropout, draw)
        d_v.copy_((p if kept is None else p * kept).to(qkv.dtype).transpose(-1, -2) @ d_o)
        if kept is not None:
            d_p = d_p * kept
        d_logits = p * (d_p - (p * d_p).sum(-1, keepdim=True))
        _add_term_gradients(d_logits, at, rule, d_terms)
        d_scores = (d_logits * q.shape[-1] ** -0.5).to(qkv.dtype)
        d_q.copy_(d_scores @ k)
        d_k.copy_(d_scores.transpose(-1, -2) @ q)
    d_by_distance, d_by_query, d_by_key = (
        d_by if by is None else d_by.to(by.dtype) for by, d_by in zip(terms, d_terms, strict=True)
    )
    if rule.reordered:
        d_qkv, d_by_query, d_by_key = (
            x if x.numel() == 0 else torch.empty_like(x).index_copy_(0, order, x) for x in (d_qkv, d_by_query, d_by_key)
        )
    return d_qkv, d_by_distance, d_by_query, d_by_key


@_attend_backward.register_fake
def _(
    _grad: Tensor, _out: Tensor, _lse: Tensor, qkv: Tensor, *others: Tensor | float | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    terms = [torch.empty_like(by) if isinstance(by, Tensor) else qkv.new_empty(0) for by in others[7:10]]
    return torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device), terms[0], terms[1], terms[2]


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, dropout, seed = inputs
    ctx.save_for_backward(*output, *tensors, seed)
    ctx.dropout = dropout  # type: ignore[attr-defined]


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, seed = ctx.saved_tensors  # type: ignore[attr-defined]
    d_qkv, *d_terms = _attend_backward(grad, *tensors, ctx.dropout, seed)  # type: ignore[attr-defined]
    given = (None if by is None else d_by for by, d_by in zip(tensors[-3:], d_terms, strict=True))
    return d_qkv, *(None,) * 7, *given, None, None


_attend.register_autograd(_differentiate, setup_context=_save)


class _Rule:
    """A plan and the distance index, unpacked inside the operator: who sees whom, and at which distance, in a group."""

    def __init__(
        self,
        table: Tensor,
        positions: Tensor,
        segments: Tensor | None,
        rank: Tensor | None,
        reach: Tensor | None,
        index: Tensor | None,
    ) -> None:
        (self.reordered, self.plain, self.causal), (self.window, _, _), *groups = table.tolist()
        self.groups: list[Group] = [(start, n, length) for start, n, length in groups]
        self.positions, self.segments, self.rank, self.reach, self.index = positions, segments, rank, reach, index

    def triangle(self, at: Group) -> bool:
        """Whether the rule is the lower triangle, which flash attention knows by name."""
        return bool(self.causal and self.plain and not self._narrow(at))

    def hidden(self, at: Group) -> Tensor | None:
        """(n, 1, L, L) bool, true where q does *not* see k; None where the group needs no mask."""
        if self.triangle(at):
            return None
        hidden = None
        if self._narrow(at):
            position = _rows(self.positions, at)
            hidden = (position[:, :, None] - position[:, None, :]).abs() > self.window
        rank, reach = (self.positions, self.positions) if self.causal else (self.rank, self.reach)
        if rank is not None and reach is not None:
            later = _rows(rank, at)[:, None, :] > _rows(reach, at)[:, :, None]
            hidden = later if hidden is None else hidden | later
        return None if hidden is None else hidden[:, None]

    def relation(self, at: Group) -> Tensor | None:
        """(n, L, L) int64: the distance index of each pair."""
        if self.index is None:
            return None
        position = _rows(self.positions, at)
        same = None
        if self.segments is not None:
            segment = _rows(self.segments, at)
            same = segment[:, :, None] == segment[:, None, :]
        return relate(self.index, position[:, :, None], position[:, None, :], same)

    def _narrow(self, at: Group) -> bool:
        return self.window >= 0 and not (self.plain and at[2] - 1 <= self.window)


def _rows(values: Tensor, at: Group) -> Tensor:
    """values (T, …) -> the group's (n, L, …), a view."""
    start, n, length = at
    return values[start : start + n * length].unflatten(0, (n, length))


def _heads(values: Tensor, at: Group) -> Tensor:
    """values (T, N, …) -> the group's (n, N, L, …), a view."""
    return _rows(values, at).transpose(1, 2)


def _split(qkv: Tensor, at: Group) -> tuple[Tensor, Tensor, Tensor]:
    """The group's q, k and v, (n, N, L, H) each: views of the fused projection, or of its gradient."""
    q, k, v = _rows(qkv, at).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def _reordered(values: Tensor | None, order: Tensor) -> Tensor | None:
    return None if values is None else values.index_select(0, order)


def _exact(values: Tensor) -> torch.dtype:
    """What softmaxes and sums over rows are kept in: float32, or float64 where everything is."""
    return torch.promote_types(values.dtype, torch.float32)


def _float_mask(hidden: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if hidden is None:
        return None
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))


def _weights(
    q: Tensor,
    k: Tensor,
    at: Group,
    rule: _Rule,
    by_distance: Tensor | None,
    by_query: Tensor | None,
    by_key: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Probabilities (n, N, L, L), zeros in rows that see nothing; and their log-denominators (n, N, L)."""
    logits = (q @ k.transpose(-1, -2)).to(_exact(q)) * q.shape[-1] ** -0.5
    i = rule.relation(at)
    if i is not None:
        if by_distance is not None:
            logits = logits + by_distance[:, i].transpose(0, 1)
        if by_query is not None:
            logits = logits + gather(_heads(by_query, at), i[:, None])
        if by_key is not None:
            logits = logits + gather(_heads(by_key, at), i[:, None].transpose(-1, -2)).transpose(-1, -2)
    hidden = rule.hidden(at)
    if hidden is not None or rule.triangle(at):
        if hidden is None:
            hidden = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu_(1)
        logits = logits.masked_fill(hidden, float("-inf"))
    lse = torch.logsumexp(logits, -1)
    lse = lse.masked_fill(lse == float("-inf"), 0.0)
    return torch.exp(logits - lse[..., None]), lse


def _add_term_gradients(d_logits: Tensor, at: Group, rule: _Rule, d_terms: list[Tensor]) -> None:
    """Add what the group gives to the gradients of the three terms; d_logits (n, N, L, L)."""
    i = rule.relation(at)
    if i is None:
        return
    d_by_distance, d_by_query, d_by_key = d_terms
    if d_by_distance.numel():
        d_by_distance.index_add_(1, i.flatten(), d_logits.transpose(0, 1).flatten(1))
    if d_by_query.numel():
        _heads(d_by_query, at).scatter_add_(-1, i[:, None].expand_as(d_logits), d_logits)
    if d_by_key.numel():
        across = i[:, None].expand_as(d_logits).transpose(-1, -2)
        _heads(d_by_key, at).scatter_add_(-1, across, d_logits.transpose(-1, -2))


def _generator(seed: Tensor | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(int(seed))


def _kept(p: Tensor, dropout: float, draw: torch.Generator) -> Tensor:
    """1 / (1 - dropout) where a probability is kept, 0 where it is dropped; drawn on the host, so alike everywhere."""
    kept = torch.empty(p.shape, dtype=p.dtype).bernoulli_(1.0 - dropout, generator=draw)
    return kept.div_(1.0 - dropout).to(p.device)
