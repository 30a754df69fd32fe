"""The `grouped` kernel: sequences of equal length are attended together, so nothing is padded. Runs on any device.

(Measured on a CPU: padding near lengths to one does not beat a call for each length, even at 50 lengths in a pack.)
On a CPU, without dropout, a group is one call of PyTorch's flash attention: with no mask where everybody sees
everybody and nothing is added, else with rule and distance terms as a float mask. Flash attention gives no gradients
of its mask: with terms the backward pass is written out, group by group, and so is all of it elsewhere. To compiled
code the whole is one opaque operator whose shapes depend on T alone, so ragged packs never recompile it.

Shapes: T rows, N heads, H head width; a group has n sequences of L rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.nn import crossed, flash, written
from didact.nn.distance import DistanceTerms
from didact.nn.groups import Group, Plan, Rule, heads, plan, split
from didact.nn.written import Dropout, Terms, exact
from didact.packed import Packed
from didact.visibility import Visibility


@dataclass(frozen=True)
class Grouped:
    """Attention over groups of sequences of equal length; any device, any rule, any terms, dropout."""

    name: str = "grouped"

    def plan(self, packed: Packed, visibility: Visibility) -> Plan:
        return plan(packed, visibility)

    def __call__(
        self,
        qkv: Tensor,
        plan: Plan,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        """qkv (T, 3, N, H) -> (T, N, H)."""
        # The seed is drawn outside the operator, which so stays a pure function: backward draws the same mask again.
        seed = torch.randint(2**62, (1,), device="cpu") if dropout > 0 else None
        if distance is None:
            segments, terms = None, (None,) * 5
        else:
            segments = None if distance.by_same is None else plan.segments
            terms = (distance.index, distance.by_distance, distance.by_query, distance.by_key, distance.by_same)
        rule = (plan.table, plan.order, plan.positions, segments, plan.rank, plan.reach)
        return _attend(qkv, *rule, *terms, dropout, seed, scale)[0]

    def plan_cross(self, queries: Packed, keys: Packed) -> crossed.Plan:
        return crossed.plan(queries, keys)

    def cross(
        self, q: Tensor, kv: Tensor, plan: crossed.Plan, dropout: float = 0.0, scale: float | None = None
    ) -> Tensor:
        """q (T, N, H), kv (S, 2, N, H) -> (T, N, H)."""
        seed = torch.randint(2**62, (1,), device="cpu") if dropout > 0 else None
        return crossed.attend(q, kv, plan.table, plan.lengths, plan.q_at, plan.k_at, dropout, seed, scale)[0]


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
    by_same: Tensor | None,
    dropout: float,
    seed: Tensor | None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """-> (T, N, H); and what flash attention's backward wants, (T, N) in the groups' order: each softmax's
    log-denominator.
    """
    rule = Rule(table, positions, segments, rank, reach, index)
    if rule.reordered:
        qkv, by_query, by_key, by_same = qkv[order], _at(by_query, order), _at(by_key, order), _at(by_same, order)
    fused, drop = _fused(qkv, dropout), Dropout.seeded(dropout, seed)
    terms = Terms(by_distance, by_query, by_key, by_same)
    T, _, N, H = qkv.shape
    alone = len(rule.groups) == 1 and rule.end == T
    if fused and alone:  # one call for the whole pack: its results already lie as they should
        o, s = flash.forward(*split(qkv, rule.groups[0]), **_rule(rule, rule.groups[0], terms, qkv.dtype), scale=scale)
        return o.transpose(1, 2).flatten(0, 1), s.transpose(1, 2).flatten(0, 1)
    out, lse = qkv.new_empty(T, N, H), qkv.new_empty(T, N, dtype=exact(qkv))
    out[rule.end :], lse[rule.end :] = 0.0, 0.0
    for at in rule.groups:
        if fused:
            o, s = flash.forward(*split(qkv, at), **_rule(rule, at, terms, qkv.dtype), scale=scale)
            heads(lse, at).copy_(s)
        else:
            o = written.forward(qkv, at, rule, terms, drop, scale)
        heads(out, at).copy_(o)
    return (torch.empty_like(out).index_copy_(0, order, out) if rule.reordered else out), lse


@_attend.register_fake
def _(qkv: Tensor, *_others: object) -> tuple[Tensor, Tensor]:
    T, _, N, H = qkv.shape
    return qkv.new_empty(T, N, H), qkv.new_empty(T, N, dtype=exact(qkv))


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
    by_same: Tensor | None,
    dropout: float,
    seed: Tensor | None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """-> gradients of qkv, by_distance, by_query, by_key and by_same (an empty tensor for each that is None)."""
    rule = Rule(table, positions, segments, rank, reach, index)
    if rule.reordered:
        grad, out, qkv = grad[order], out[order], qkv[order]
        by_query, by_key, by_same = _at(by_query, order), _at(by_key, order), _at(by_same, order)
    fused, drop = _fused(qkv, dropout), Dropout.seeded(dropout, seed)
    terms = Terms(by_distance, by_query, by_key, by_same)
    d_terms = terms.zeros()
    d_qkv = torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)
    d_qkv[rule.end :] = 0.0
    for at in rule.groups:
        d_out = heads(grad, at)
        if fused and index is None:
            results = (heads(out, at), heads(lse, at))
            seen = _rule(rule, at, terms, qkv.dtype)
            gradients = flash.backward(d_out, *split(qkv, at), *results, **seen, scale=scale)
        else:
            known = (heads(out, at), heads(lse, at) if fused else None)
            gradients = written.backward(d_out, qkv, at, rule, terms, drop, d_terms, *known, scale=scale)
        for to, value in zip(split(d_qkv, at), gradients, strict=True):
            to.copy_(value)
    d_by_distance, d_by_query, d_by_key, d_by_same = (
        qkv.new_zeros(0) if by is None or d_by is None else d_by.to(by.dtype)
        for by, d_by in (
            (by_distance, d_terms.by_distance),
            (by_query, d_terms.by_query),
            (by_key, d_terms.by_key),
            (by_same, d_terms.by_same),
        )
    )
    if rule.reordered:
        d_qkv, d_by_query, d_by_key, d_by_same = (
            torch.empty_like(x).index_copy_(0, order, x) if x.numel() else x
            for x in (d_qkv, d_by_query, d_by_key, d_by_same)
        )
    return d_qkv, d_by_distance, d_by_query, d_by_key, d_by_same


@_attend_backward.register_fake
def _(
    _grad: Tensor, _out: Tensor, _lse: Tensor, qkv: Tensor, *others: Tensor | float | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    terms = [by.new_empty(by.shape) if isinstance(by, Tensor) else qkv.new_empty(0) for by in others[7:11]]
    return torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device), terms[0], terms[1], terms[2], terms[3]


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, dropout, seed, scale = inputs
    ctx.save_for_backward(*output, *tensors, seed)
    ctx.numbers = dropout, scale  # type: ignore[attr-defined]


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, seed = ctx.saved_tensors  # type: ignore[attr-defined]
    dropout, scale = ctx.numbers  # type: ignore[attr-defined]
    d_qkv, *d_terms = _attend_backward(grad, *tensors, dropout, seed, scale)
    given = (None if by is None else d_by for by, d_by in zip(tensors[-4:], d_terms, strict=True))
    return d_qkv, *(None,) * 7, *given, None, None, None


_attend.register_autograd(_differentiate, setup_context=_save)


def _fused(qkv: Tensor, dropout: float) -> bool:
    return qkv.device.type == "cpu" and dropout == 0.0


def _rule(rule: Rule, at: Group, terms: Terms, dtype: torch.dtype) -> dict[str, Any]:
    """Rule and terms as flash attention takes them: the lower triangle alone by name, else a mask of what is added and
    -inf for what is hidden, else nothing.
    """
    bias = terms.bias(at, rule)
    if bias is None and rule.triangle(at):
        return {"causal": True, "mask": None}
    hidden = rule.hidden(at)
    if hidden is not None:
        mask = torch.zeros(hidden.shape, dtype=dtype) if bias is None else bias
        bias = mask.masked_fill_(hidden, float("-inf"))
    if bias is not None:
        bias = bias.contiguous() if bias.dtype == torch.float32 else bias.to(dtype).contiguous()
    return {"causal": False, "mask": bias}


def _at(values: Tensor | None, order: Tensor) -> Tensor | None:
    return None if values is None else values[order]
