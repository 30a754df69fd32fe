"""How much arithmetic a step is, and what share of the machine's best rate it reaches (MFU).

Counted: 6 floating-point operations for each used parameter of a matrix product and each real token (2 forward, 4
backward: Kaplan et al., 2020, §2.1), heads on the rows they are asked alone; attention's two products of every pair of
rows that see each other, 3 times 4 · H · N (PaLM, Chowdhery et al., 2022, appendix B). Not counted: look-ups, norms,
activations, recomputation, padding. Blocks below the lowest trained one cost 2: they have no backward pass.

Shapes: T tokens, L rows of one sequence, N heads, H head width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from didact.batch import Batch, Labels
from didact.heads import Vocabulary
from didact.model import Model

SIZES = (1024, 2048, 4096)


def step_flops(models: Mapping[str, nn.Module], batches: Iterable[Batch]) -> float:
    """Operations of forward and backward of these micro-batches, still on the host. Modules that are no `Model`
    count nothing.
    """
    return float(sum(batch_flops(m, b) for m in models.values() if isinstance(m, Model) for b in batches))


def batch_flops(model: Model, batch: Batch) -> float:
    """Operations of one model on one batch."""
    config, blocks = model.config, list(model.core.blocks)
    tokens, lengths = batch.tokens, batch.inputs.packed.lengths
    trains = _trains(model.core.embedding)
    total = 6.0 * tokens * sum(p.numel() for n, p in model.core.embedding.named_parameters() if "project.weight" in n)
    for layer, window in enumerate(model.core.windows):
        block = blocks[layer * len(blocks) // config.layers]
        trains = trains or _trains(block)
        products = tokens * _matrices(block)
        seen = sum(_seen(n, window, batch.inputs.visibility.kind == "causal") for n in lengths)
        total += (6 if trains else 2) * products + (12 if trains else 4) * seen * config.heads * config.key_width
    return total + sum(6.0 * len(asked.rows) * _answer(model, asked) for asked in batch.labels)


def measured_flops(run: Callable[[], Any]) -> int:
    """Operations that `run()` really asks of torch, counted by its dispatcher: 2 for each multiply-add of a matrix
    product. To give arms of a grid equal compute. Uncompiled code only.
    """
    with FlopCounterMode(display=False, custom_mapping=_attention_formulas()) as counter:
        run()
    return counter.get_total_flops()


def matmul_peak(device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...] = SIZES, repeats: int = 3) -> float:
    """Operations a second of the best square matrix product, n in `sizes`; measured once a process."""
    return _peak(device, dtype, sizes, repeats)


@cache
def _peak(device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...], repeats: int) -> float:
    best = 0.0
    for n in sizes:
        a, b = (torch.rand(n, n, generator=torch.Generator().manual_seed(0)).to(device, dtype) for _ in range(2))
        for _ in range(repeats + 1):  # the first one warms up
            _wait(device)
            begin = time.perf_counter()
            torch.mm(a, b)
            _wait(device)
            best = max(best, 2.0 * n**3 / (time.perf_counter() - begin))
    return best


def quick_peak(device: torch.device, dtype: torch.dtype) -> float:
    """`matmul_peak` for a progress bar: without the products that would take a slow machine seconds."""
    first = matmul_peak(device, dtype, SIZES[:1], repeats=3)
    affordable = tuple(n for n in SIZES if 2.0 * n**3 / first < 0.4)
    return max(first, matmul_peak(device, dtype, affordable or SIZES[:1], repeats=2))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _matrices(module: nn.Module) -> int:
    """Parameters that every row is multiplied with."""
    return sum(p.numel() for p in module.parameters() if p.ndim == 2)


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _seen(length: int, window: int | None, causal: bool) -> float:
    """Pairs of rows of a sequence that see each other."""
    reach = length - 1 if window is None else min(window, length - 1)
    one_side = length * reach - reach * (reach + 1) / 2
    return length + one_side * (1 if causal else 2)


def _answer(model: Model, asked: Labels) -> int:
    """Parameters that an asked row is multiplied with."""
    spec = model.specs[asked.head]
    used = _matrices(model.heads[asked.head])
    if isinstance(spec, Vocabulary) and model.config.tied:
        used += model.core.embedding.word.weight.numel()
    if spec.pooled and model.pooler is not None:
        used += _matrices(model.pooler)
    return used


def _attention_formulas() -> dict[Any, Any]:
    """The counter does not look into the operators that hold a whole attention: it is told what they come to."""
    import didact.nn.grouped  # noqa: F401  (registers them)

    def pairs(qkv: torch.Tensor, groups: torch.Tensor) -> int:
        _, _, heads, width = qkv.shape
        return sum(n * length * length for _, n, length in groups.tolist()[1:]) * heads * width

    def forward(qkv: torch.Tensor, groups: torch.Tensor, *_: Any, **__: Any) -> int:
        return 4 * pairs(qkv, groups)

    def backward(_g: Any, _o: Any, _l: Any, qkv: torch.Tensor, groups: torch.Tensor, *_: Any, **__: Any) -> int:
        return 8 * pairs(qkv, groups)

    forward._get_raw = backward._get_raw = True  # type: ignore[attr-defined]  # tensors, not their shapes
    return {torch.ops.didact.grouped: forward, torch.ops.didact.grouped_backward: backward}
