"""The peer: Hugging Face transformers, imported only here and only when a benchmark runs.

Trained as its own examples train it, at its fastest: fused AdamW with its usual two parameter groups, dynamic padding,
SDPA attention, autocast in bf16 where the processor has it.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from didact.errors import InputError
from didact.training.policy import DTYPES


def transformers() -> Any:
    """The module; InputError where it is not installed."""
    try:
        module = importlib.import_module("transformers")
    except ModuleNotFoundError:
        raise InputError(
            "the benchmarks compare with transformers, which is not installed", expected="pip install transformers"
        ) from None
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


def open_model(kind: str, folder: Path, **changes: Any) -> nn.Module:
    """`transformers.<kind>.from_pretrained(folder)` in fp32; changes: fields of its configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(transformers(), kind).from_pretrained(folder, dtype=torch.float32, **changes)


def open_tokenizer(folder: Path) -> Any:
    """`transformers.AutoTokenizer.from_pretrained(folder)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers().AutoTokenizer.from_pretrained(folder)


@contextlib.contextmanager
def autocast(precision: str, device: str = "cpu") -> Iterator[None]:
    """bf16 autocast, or nothing for fp32."""
    with torch.autocast(device, dtype=DTYPES[precision], enabled=precision != "fp32"):
        yield


@dataclass(frozen=True)
class Recipe:
    """What both sides train with, and where."""

    precision: str = "fp32"
    device: str = "cpu"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0

    @property
    def beforehand(self) -> bool:
        """Whether batches are made before anything is timed: beside a GPU, loaders make them."""
        return self.device != "cpu"


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Fused AdamW; biases and norms do not decay, as in transformers' Trainer."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    spared = [n.endswith("bias") or "LayerNorm" in n for n, _ in named]
    groups = [
        {
            "params": [p for (_, p), spare in zip(named, spared, strict=True) if not spare],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for (_, p), spare in zip(named, spared, strict=True) if spare], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, eps=recipe.eps, fused=True)


def trainer(
    model: nn.Module, recipe: Recipe, compiled: bool, dynamic: bool
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A training step of a padded batch -> its loss, on the device. compiled: forward and backward through
    torch.compile; dynamic: with shapes that change from batch to batch.
    """
    model.train().to(recipe.device)
    forward: Any = torch.compile(model, dynamic=dynamic or None) if compiled else model
    steps = optimizer(model, recipe)

    def step(batch: Mapping[str, Tensor]) -> Tensor:
        given = {name: values.to(recipe.device, non_blocking=True) for name, values in batch.items()}
        with autocast(recipe.precision, recipe.device):
            loss = forward(**given).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        steps.step()
        steps.zero_grad(set_to_none=True)
        return loss.detach()

    return step
