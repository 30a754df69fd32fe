"""A stack as a decoder goes through it: rows in, layer after layer, whatever each layer looks at besides.

Shapes: T rows, D width, B sequences, S slots or rows of a source, N heads, H head width, Q rows of one sequence.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.nn.attention import Context, Crossing
from didact.nn.block import DecoderBlock
from didact.nn.core import Stack
from didact.nn.decoder import Decoder
from didact.nn.distance import DistanceTerms
from didact.nn.position import Scheme
from didact.nn.product import Constant
from didact.nn.transformer import Transformer
from didact.packed import Packed
from didact.visibility import Visibility

M = TypeVar("M", bound=nn.Module)
HIDDEN = float("-inf")  # what is added to the logit of a slot that is not seen


class Through(ABC):
    """stack: whose kernel is asked for; windows: of each layer; scheme: of positions; visibility: who sees whom where
    a side does not say it.
    """

    def __init__(
        self, stack: Stack, windows: tuple[int | None, ...], scheme: Scheme, visibility: Literal["full", "causal"]
    ) -> None:
        self.stack, self.windows, self.scheme = stack, windows, scheme
        self.visibility: Literal["full", "causal"] = visibility

    @abstractmethod
    def embed(self, packed: Packed) -> Tensor:
        """-> (T, D)."""

    @abstractmethod
    def layer(self, i: int, x: Tensor, context: Context) -> Tensor:
        """x (T, D) -> (T, D)."""

    @abstractmethod
    def final(self, x: Tensor) -> Tensor:
        """What the last layer gave (T, D) -> (T, D)."""

    @abstractmethod
    def keep(self, sequences: Tensor) -> None:
        """Only these sequences (n,) go on, in this order."""


class Alone(Through):
    """A core, which reads tokens by itself."""

    def __init__(self, core: Transformer) -> None:
        super().__init__(core, core.windows, core.embedding.position, core.visibility)
        self.core = core

    def embed(self, packed: Packed) -> Tensor:
        return self.core.embedding(packed)

    def layer(self, i: int, x: Tensor, context: Context) -> Tensor:
        return self.core.blocks[i * len(self.core.blocks) // len(self.windows)](x, context)

    def final(self, x: Tensor) -> Tensor:
        return self.core.final_norm(x)

    def keep(self, sequences: Tensor) -> None:
        del sequences


class Beside(Through):
    """A decoder beside its source, B sequences, each of whose keys are made once, for all rows that will look at them.

    word: the encoder's words; encoded (T, D): what the encoder made of `source`. Rows come in turn, as many of each
    sequence.
    """

    def __init__(self, decoder: Decoder, word: nn.Module, encoded: Tensor, source: Packed) -> None:
        super().__init__(decoder, (None,) * len(decoder.blocks), decoder.embedding.position, "causal")
        self.decoder, self.word = decoder, word
        self._blocks = [block for block in decoder.blocks if isinstance(block, DecoderBlock)]
        lengths, sequence = source.cu_seqlens.diff().long(), source.sequence_ids()
        place = torch.arange(len(sequence), device=encoded.device) - source.cu_seqlens[:-1].long()[sequence]
        B, S = len(lengths), int(lengths.max())
        self.mask = None
        if bool((lengths < S).any()):
            slots = torch.arange(S, device=encoded.device)
            mask = torch.zeros(B, S, device=encoded.device).masked_fill_(slots >= lengths[:, None], HIDDEN)
            self.mask = mask[:, None, None]
        self.keys: list[Tensor] = []
        """of each layer (2, B, N, S, H)"""
        for block in self._blocks:
            kv = block.cross.keys(encoded)
            _, _, N, H = kv.shape
            own = kv.new_zeros(2, B, N, S, H)
            own.permute(1, 3, 0, 2, 4)[sequence, place] = kv
            self.keys.append(own)

    def embed(self, packed: Packed) -> Tensor:
        return self.decoder.embedding(packed, self.word)

    def layer(self, i: int, x: Tensor, context: Context) -> Tensor:
        block = self._blocks[i]
        return block.read(block.looked_back(x, context), self.keys[i], Crossing(_LOOK, self.mask))

    def final(self, x: Tensor) -> Tensor:
        return self.decoder.final_norm(x)

    def keep(self, sequences: Tensor) -> None:
        self.keys = [kv.index_select(1, sequences) for kv in self.keys]
        self.mask = None if self.mask is None else self.mask[sequences]


class OneVerb:
    """A kernel for one purpose, which has one of a kernel's verbs; the others are never asked for."""

    name = "one verb"

    def plan(self, packed: Packed, visibility: Visibility) -> Any:
        raise NotImplementedError

    def __call__(
        self,
        qkv: Tensor,
        plan: Any,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        raise NotImplementedError

    def plan_cross(self, queries: Packed, keys: Packed) -> Any:
        raise NotImplementedError

    def cross(self, q: Tensor, kv: Tensor, plan: Any, dropout: float = 0.0, scale: float | None = None) -> Tensor:
        raise NotImplementedError


class _Look(OneVerb):
    """Cross-attention to keys that lie as `Beside` has them. Its plan is their mask."""

    def cross(
        self, q: Tensor, kv: Tensor, plan: Tensor | None, dropout: float = 0.0, scale: float | None = None
    ) -> Tensor:
        """q (B · Q, N, H), kv (2, B, N, S, H) -> (B · Q, N, H)."""
        del dropout
        rows = q.unflatten(0, (kv.shape[1], -1)).transpose(1, 2)
        out = F.scaled_dot_product_attention(rows, kv[0], kv[1], attn_mask=plan, scale=scale)
        return out.transpose(1, 2).flatten(0, 1)


_LOOK = _Look()


def for_steps(module: M) -> M:
    """The same module for inference: its parameters are shared, and its dense layers multiply few rows fast."""
    known: dict[int, nn.Module] = {}

    def made(part: nn.Module) -> nn.Module:
        if id(part) not in known:  # what stands in two places stays one
            own = Constant(part) if isinstance(part, nn.Linear) else copy.copy(part)
            own._modules = {name: child and made(child) for name, child in part._modules.items()}
            own.training = False
            known[id(part)] = own
        return known[id(part)]

    return made(module)  # type: ignore[return-value]
