"""AdamW (Loshchilov & Hutter, 2019) over a model's structure: what decays, what moves how fast, what stays frozen.

Which layer a parameter belongs to is read off its place in the model (`embedding`, `blocks.i`, anything above), never
off the model's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from didact.training.parallel import sharded
from didact.training.rows import AdamWByRows

_BLOCK = re.compile(r"(?:^|\.)(decoder\.)?blocks\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)embedding\.")


@dataclass(frozen=True)
class AdamW:
    """learning_rate: the peak; decay: of weights, which spares every parameter of fewer than two dimensions (biases
    and the gains of norms; embeddings do decay, as in BERT's own optimizer).

    layer_decay: each layer's rate is this times that of the layer above; heads and pooler have the full rate, the
    topmost block layer_decay times it, the embeddings the least (Howard & Ruder, 2018, §3.1; ELECTRA fine-tunes so).
    freeze: "embeddings", or the number of lowest blocks that stay as they are, embeddings included (0: embeddings
    alone); None = nothing. A vocabulary head tied to frozen embeddings is frozen with them.
    """

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    decay: float = 0.01
    layer_decay: float = 1.0
    freeze: int | Literal["embeddings"] | None = None

    def __post_init__(self) -> None:
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas {self.betas}: each from 0 to below 1")
        if isinstance(self.freeze, int) and self.freeze < 0:
            raise ValueError(f"freeze {self.freeze}: a number of layers from 0")

    def frozen(self, module: nn.Module) -> None:
        """Take what is `kept` out of training (`requires_grad`). Before the module is wrapped."""
        for parameter in self.kept(module):
            parameter.requires_grad_(False)

    def kept(self, module: nn.Module) -> list[nn.Parameter]:
        """The frozen layers' parameters.

        Raises ValueError where the module has fewer blocks than are to be frozen, or nothing is left to train.
        """
        if self.freeze is None:
            return []
        lowest = 0 if self.freeze == "embeddings" else self.freeze
        blocks, below = _blocks(module)
        if lowest > blocks:
            raise ValueError(f"cannot freeze {lowest} layers of a model that has {blocks}")
        found = [(depth(name, blocks, below) <= lowest, p) for name, p in module.named_parameters()]
        if all(low or not p.requires_grad for low, p in found):
            raise ValueError("every parameter is frozen: nothing to train")
        return [p for low, p in found if low]

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        """The optimizer over what is trained in `module`. A group's `scale` is its share of the scheduled rate."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        blocks, below = _blocks(module)
        for name, parameter in trained(module):
            scale = self.layer_decay ** (blocks + 1 - depth(name, blocks, below))
            groups.setdefault((scale, decays(parameter)), []).append(parameter)
        if not groups:
            raise ValueError("every parameter is frozen: nothing to train")
        devices = {p.device.type for _, p in trained(module)}
        fused = devices <= {"cpu", "cuda", "mps"} and not any(sharded(p) for _, p in trained(module))
        made = AdamWByRows if fused else torch.optim.AdamW
        return made(
            [
                {"params": members, "scale": scale, "weight_decay": self.decay if decaying else 0.0}
                for (scale, decaying), members in groups.items()
            ],
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.eps,
            fused=fused,
            foreach=None if fused else True,
        )


def trained(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that is trained, shared ones once."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield name, parameter


def decays(parameter: nn.Parameter) -> bool:
    """Matrices and tables decay; biases and norms do not."""
    return parameter.ndim >= 2


def depth(name: str, blocks: int, below: int = 0) -> int:
    """How far from the input: embeddings 0, block i is i + 1, a decoder's stands on the `below` blocks of the encoder,
    all above (final norms, pooler, heads) is blocks + 1.
    """
    if _EMBEDDING.search(name):
        return 0
    if found := _BLOCK.search(name):
        return int(found[2]) + 1 + (below if found[1] else 0)
    return blocks + 1


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def _blocks(module: nn.Module) -> tuple[int, int]:
    """How high the highest trained block stands; and the blocks of the deepest encoder, on which decoders stand."""
    every = [(match, p) for name, p in module.named_parameters() if (match := _BLOCK.search(name))]
    below = max((int(match[2]) + 1 for match, _ in every if not match[1]), default=0)
    heights = (int(match[2]) + 1 + (below if match[1] else 0) for match, p in every if p.requires_grad)
    return max(heights, default=0), below
