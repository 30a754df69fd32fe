"""A larger model from a smaller one: its weights in the middle, wrapped around (ModernBERT, Warner et al., 2024, Weight
Initialization and Tiling; appendix A.2).

Every axis that grew holds the smaller model's in its middle and repeats it to both sides, each head and each of the
fused q, k, v, gate and up for itself (the paper found it better than random edges and than tiling from an edge). Layer
i of L becomes the smaller model's round(i · l / L) of l, or its last where that is one too many (after Gopher, Rae et
al., 2021, as the paper's code has it: AnswerDotAI/ModernBERT, src/bert_layers/model.py, layer_mapping). Scales are left
as they are: a sum over twice as many equal inputs is twice as large, which the norms that follow undo. What is made so
is not the smaller model's function; by the paper the loss falls much faster from there than from random weights.

Shapes: any; an axis of n becomes one of m >= n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace

import torch
from torch import Tensor

from didact.config import ModelConfig

# Axes that are made of parts: a parameter's name, the axis, and how many parts a model of this configuration has.
QKV, HEADS, HALVES = "q, k and v", "heads", "gate and up"
PARTS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    (r"attention\.qkv\.(weight|bias)", 0, (QKV, HEADS)),
    (r"attention\.out\.weight", 1, (HEADS,)),
    (r"attention\.relation\.distance\.weight", 0, (HEADS,)),
    (r"feedforward\.up\.(weight|bias)", 0, (HALVES,)),
)
# What may differ: sizes, and what no parameter depends on.
SIZES = frozenset(("layers", "width", "heads", "feedforward", "head_width", "segments", "windows", "pooler"))
SIZES |= {"dropout", "attention_dropout", "init_std"}
# Rows that stand for something by their number: the smaller model's first, then again from the first.
NUMBERED = (r"embedding\.(position|segment)\.weight",)


def tiled(
    small: Mapping[str, Tensor], of: ModelConfig, like: Mapping[str, Tensor], to: ModelConfig
) -> dict[str, Tensor]:
    """The parameters of a model of configuration `to` from those of a smaller one, of configuration `of`.

    like: that model's own fresh parameters, by name; those that the smaller model has no match for stay as they are
    (a norm that its first layer lacks). Raises ValueError where anything is to become smaller, or the two differ in
    more than sizes.
    """
    if to.core != "transformer" or to.decoder is not None:
        raise ValueError(f"layers of a {to.core} core{' with a decoder' if to.decoder else ''} cannot be tiled")
    of_position, to_position = replace(of.position, maximum=None), replace(to.position, maximum=None)
    for name in (field.name for field in fields(of) if field.name not in SIZES):
        before, after = getattr(of, name), getattr(to, name)
        if before != after and not (name == "position" and of_position == to_position):
            raise ValueError(f"{name} {before} cannot be tiled into {after}")
    if to.layers < of.layers:
        raise ValueError(f"{of.layers} layers cannot be tiled into {to.layers}")
    turned = {"rotary": "key_width", "relative": "width", "sinusoidal": "width"}.get(of.position.scheme)
    if turned is not None and getattr(of, turned) != getattr(to, turned):  # each column turns at a speed of its own
        named = turned.removeprefix("key_")
        raise ValueError(
            f"a {named} of {getattr(of, turned)} with {of.position.scheme} positions cannot be tiled into "
            f"{getattr(to, turned)}"
        )
    if of.layer_groups:  # blocks that several layers share are the same blocks
        of, to = replace(of, layers=of.layer_groups), replace(to, layers=of.layer_groups)
    layers = [min(round(i * of.layers / to.layers), of.layers - 1) for i in range(to.layers)]
    out: dict[str, Tensor] = {}
    for name, own in like.items():
        source = small.get(re.sub(r"(?<=blocks\.)\d+", lambda found: str(layers[int(found[0])]), name))
        if source is None and own.dim() > 1:
            raise ValueError(f"the smaller model has no {name}, which cannot be tiled")
        out[name] = own if source is None else _tile(name, source, of, own, to)
    return out


def center(values: Tensor, axis: int, size: int) -> Tensor:
    """values (…, n, …) -> (…, size, …): n in the middle, wrapped around: [1, 2, 3] to 8 is [2, 3, 1, 2, 3, 1, 2, 3]."""
    n = values.shape[axis]
    if size < n:
        raise ValueError(f"{n} cannot be tiled into {size}")
    return values.index_select(axis, (torch.arange(size) - (size - n) // 2) % n)


def _tile(name: str, source: Tensor, of: ModelConfig, own: Tensor, to: ModelConfig) -> Tensor:
    """One parameter, axis by axis, the axes that are made of parts unfolded first and folded last."""
    if source.dim() != own.dim():
        raise ValueError(f"{name} {tuple(source.shape)} cannot be tiled into {tuple(own.shape)}")
    numbered = any(re.search(pattern, name) for pattern in NUMBERED)
    axis, kinds = next(((axis, kinds) for pattern, axis, kinds in PARTS if re.search(pattern, name)), (0, ()))
    small_parts, large_parts = ([_count(kind, config) for kind in kinds] for config in (of, to))
    source = source.unflatten(axis, (*small_parts, -1)) if kinds else source
    target = own.unflatten(axis, (*large_parts, -1)).shape if kinds else own.shape
    for i, size in enumerate(target):
        if numbered and i == 0:
            source = source.index_select(0, torch.arange(size) % source.shape[0])
        else:
            source = center(source, i, size)
    return source.reshape(own.shape).to(own.dtype)


def _count(kind: str, config: ModelConfig) -> int:
    return {QKV: 3, HEADS: config.heads, HALVES: 2 if config.gated else 1}[kind]
