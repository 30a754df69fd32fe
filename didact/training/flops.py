"""How much arithmetic a step is, and what share of the machine's best rate it reaches (MFU).

Counted: 6 floating-point operations for each used parameter of a matrix product and each row (2 forward, 4 backward:
Kaplan et al., 2020, §2.1), heads on the rows they are asked alone; attention's two products of every pair of rows that
see each other, 3 times 4 · H · N (PaLM, Chowdhery et al., 2022, appendix B), all pairs of a sequence where the order is
drawn; where layers ask a table of distances, its projection and its product with every row. Not counted: look-ups,
norms, activations, recomputation, padding. Blocks below the lowest trained one cost 2: they have no backward pass.

Shapes: T rows, L rows of one sequence, N heads, H head width, I rows of a table of distances.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from didact.batch import Batch
from didact.heads import Head, Vocabulary
from didact.model import Model
from didact.nn.relation import Relation

SIZES = (1024, 2048, 4096)


def step_flops(models: Mapping[str, nn.Module], batches: Iterable[Batch]) -> float:
    """Operations of forward and backward of these micro-batches, still on the host."""
    every = costs(models)
    return float(sum(cost(batch) for batch in batches for cost in every))


@dataclass(frozen=True)
class Cost:
    """What a batch costs a model, all that does not change from batch to batch worked out beforehand.

    per_token: operations of the stack's matrix products; per_word: of each distinct token (a character CNN); pairs: per
    window of attention, operations of each pair of rows that see each other; answers: by name, a head and the
    operations of each of its answers (a question to another model's head costs this one nothing); distances: how many
    there are (I) for a bound of lengths; by_distance: operations of a layer stack for each of them, and for each of
    them and row; causal: whether the model looks back only, whatever the batch says.
    """

    per_token: float
    per_word: float
    pairs: tuple[tuple[int | None, float], ...]
    answers: Mapping[str, tuple[Head, float]]
    distances: Callable[[int], int]
    by_distance: tuple[float, float]
    causal: bool = False

    @staticmethod
    def of(model: Model) -> Cost:
        """Reads which parameters are trained: to be asked after layers were frozen."""
        config = model.config
        each = 6.0 if _trains(model) else 2.0  # a teacher has no backward pass
        pairs: dict[int | None, float] = {}
        projected = compared = 0.0  # of distances
        trains = _trains(model.core.embedding)
        per_token, per_word = ((6.0 if trains else 2.0) * count for count in model.core.embedding.products)
        for layer in model.core.passes:
            trains = trains or _trains(layer.block)
            one = 6 if trains else 2
            per_token += one * _matrices(layer.block)
            for relation in (m for m in layer.block.modules() if isinstance(m, Relation)):
                per_token -= one * _matrices(relation)  # not of every row
                projected += relation.operations(trains) * config.width * config.heads * config.key_width
                compared += one * relation.terms * config.heads * config.key_width
            if layer.attends:
                pairs[layer.window] = pairs.get(layer.window, 0.0) + 2 * one * config.heads * config.key_width
        answers = {name: (spec, each * _answer(model, name)) for name, spec in model.specs.items()}
        distances, causal = model.core.embedding.position.distances, config.visibility == "causal"
        return Cost(per_token, per_word, tuple(pairs.items()), answers, distances, (projected, compared), causal)

    def __call__(self, batch: Batch) -> float:
        """Operations of forward and backward of a batch that is still on the host."""
        packed = batch.inputs.packed
        lengths = np.diff(packed.cu_seqlens.numpy()).astype(np.int64)
        causal = self.causal or batch.inputs.visibility.kind == "causal"
        rows = batch.tokens if packed.queries is None else len(packed.tokens)  # a batch that counts nothing costs none
        total = self.per_token * rows
        if self.per_word:
            total += self.per_word * len(np.unique(packed.tokens.numpy()))
        if any(self.by_distance):
            alone, each = self.by_distance
            total += self.distances(packed.max_seqlen) * (alone + each * rows)
        total += sum(each * _seen(lengths, window, causal) for window, each in self.pairs)
        for asked in batch.labels:
            if asked.head in self.answers:  # not of another model
                head, operations = self.answers[asked.head]
                total += head.answers(asked) * operations
        return total


def costs(models: Mapping[str, nn.Module]) -> tuple[Cost, ...]:
    """Of every `Model` among these; other modules count nothing."""
    return tuple(Cost.of(model) for model in models.values() if isinstance(model, Model))


def measured_flops(run: Callable[[], Any]) -> int:
    """Operations that `run()` really asks of torch, counted by its dispatcher: 2 for each multiply-add of a matrix
    product; of attention, of pairs of rows that see each other. To give arms of a grid equal compute. Uncompiled code
    only.
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


def _seen(lengths: NDArray[np.int64], window: int | None, causal: bool) -> float:
    """Pairs of rows that see each other, over sequences of these lengths."""
    reach = lengths - 1 if window is None else np.minimum(window, lengths - 1)
    one_side = lengths * reach - reach * (reach + 1) // 2
    return float((lengths + one_side * (1 if causal else 2)).sum())


def _answer(model: Model, head: str) -> float:
    """Parameters that a row asked by this head is multiplied with."""
    spec = model.specs[head]
    used = _matrices(model.heads[head])
    table = model.core.embedding.table
    if isinstance(spec, Vocabulary) and model.config.tied and table is not None:
        used += table.numel()
    if spec.pools(model.config) and model.pooler is not None:
        used += _matrices(model.pooler)
    return float(used)


def _attention_formulas() -> dict[Any, Any]:
    """The counter does not look into the operators that hold a whole attention: it is told what they come to."""
    import didact.nn.grouped  # noqa: F401  (registers them)

    def pairs(qkv: torch.Tensor, table: torch.Tensor) -> int:
        _, _, heads, width = qkv.shape
        (_, _, causal), (window, _, _), *groups = table.tolist()
        lengths = np.repeat([length for _, _, length in groups], [n for _, n, _ in groups]).astype(np.int64)
        return round(_seen(lengths, None if window < 0 else window, bool(causal))) * heads * width

    def forward(qkv: torch.Tensor, table: torch.Tensor, *_: Any, **__: Any) -> int:
        return 4 * pairs(qkv, table)

    def backward(_g: Any, _o: Any, _l: Any, qkv: torch.Tensor, table: torch.Tensor, *_: Any, **__: Any) -> int:
        return 8 * pairs(qkv, table)

    forward._get_raw = backward._get_raw = True  # type: ignore[attr-defined]  # tensors, not their shapes
    return {torch.ops.didact.grouped: forward, torch.ops.didact.grouped_backward: backward}
