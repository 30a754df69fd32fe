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

from didact.batch import Batch, Side
from didact.config import ModelConfig
from didact.heads import Head, Vocabulary
from didact.model import Model
from didact.nn.attention import CrossAttention
from didact.nn.core import Stack
from didact.nn.position import Scheme
from didact.nn.relation import Relation
from didact.packed import Packed

SIZES = (1024, 2048, 4096)


def step_flops(models: Mapping[str, nn.Module], batches: Iterable[Batch]) -> float:
    """Operations of forward and backward of these micro-batches, still on the host."""
    every = costs(models)
    return float(sum(cost(batch) for batch in batches for cost in every))


@dataclass(frozen=True)
class StackCost:
    """What rows cost a stack. per_token: operations of its matrix products, of each row; pairs: per window of
    attention, operations of each pair of rows that see each other; distances: how many there are (I) for a bound of
    lengths; by_distance: operations of a layer stack for each of them, and for each of them and row; causal: whether
    its rows look back only, whatever the batch says; cross: of a decoder, operations of each row of the source, and of
    each pair of a row and one of its source.
    """

    per_token: float
    pairs: tuple[tuple[int | None, float], ...]
    distances: Callable[[int], int]
    by_distance: tuple[float, float]
    causal: bool = False
    cross: tuple[float, float] = (0.0, 0.0)

    @staticmethod
    def of(stack: Stack, config: ModelConfig, position: Scheme, trains: bool) -> StackCost:
        """config: with the stack's own sizes; trains: whether anything below it is trained."""
        pairs: dict[int | None, float] = {}
        projected = compared = 0.0  # of distances
        per_token = per_source = per_look = 0.0
        rows = config.heads * config.key_width
        below = trains  # of a decoder: the encoder
        for layer in stack.passes:
            trains = trains or _trains(layer.block)
            one = 6 if trains else 2
            per_token += one * _matrices(layer.block)
            for module in layer.block.modules():
                if isinstance(module, Relation):
                    per_token -= one * _matrices(module)  # not of every row
                    projected += module.operations(trains) * config.width * rows
                    compared += one * module.terms * rows
                if isinstance(module, CrossAttention):
                    of_source = _matrices(module.kv)
                    per_token -= one * of_source
                    per_source += (one if below or not trains else 4) * of_source
                    per_look += 2 * one * rows
            if layer.attends:
                pairs[layer.window] = pairs.get(layer.window, 0.0) + 2 * one * rows
        terms = projected, compared
        causal = config.visibility == "causal"
        return StackCost(per_token, tuple(pairs.items()), position.distances, terms, causal, (per_source, per_look))

    def __call__(self, side: Side, rows: int, source: Packed | None = None) -> float:
        """Operations of forward and backward of so many rows of a side."""
        packed = side.packed
        lengths = _lengths(packed)
        causal = self.causal or side.visibility.kind == "causal"
        total = self.per_token * rows
        if any(self.by_distance):
            alone, each = self.by_distance
            total += self.distances(packed.max_seqlen) * (alone + each * rows)
        total += sum(each * _seen(lengths, window, causal) for window, each in self.pairs)
        if source is not None and rows:
            of_source, look = self.cross
            total += of_source * len(source.tokens) + look * float((lengths * _lengths(source)).sum())
        return total


@dataclass(frozen=True)
class Cost:
    """What a batch costs a model, all that does not change from batch to batch worked out beforehand.

    core and decoder: of the stacks; per_input: operations of the embedding, of each row; per_word: of each distinct
    token (a character CNN); answers: by name, a head and the operations of each of its answers (a question to another
    model's head costs this one nothing).
    """

    core: StackCost
    decoder: StackCost | None
    per_input: float
    per_word: float
    answers: Mapping[str, tuple[Head, float]]

    @staticmethod
    def of(model: Model) -> Cost:
        """Reads which parameters are trained: to be asked after layers were frozen."""
        config, embedding = model.config, model.core.embedding
        each = 6.0 if _trains(model) else 2.0  # a teacher has no backward pass
        trains = _trains(embedding)
        per_input, per_word = ((6.0 if trains else 2.0) * count for count in embedding.products)
        core, decoder = StackCost.of(model.core, config, embedding.position, trains), None
        if model.decoder is not None:
            below = _trains(model.core)
            decoder = StackCost.of(model.decoder, config.decoding, model.decoder.embedding.position, below)
        answers = {name: (spec, each * _answer(model, name)) for name, spec in model.specs.items()}
        return Cost(core, decoder, per_input, per_word, answers)

    def __call__(self, batch: Batch) -> float:
        """Operations of forward and backward of a batch that is still on the host."""
        packed = batch.inputs.packed
        rows = batch.tokens if packed.queries is None else len(packed.tokens)  # a batch that counts nothing costs none
        total = self.core(batch.inputs, rows) + self.per_input * rows
        if self.decoder is not None and batch.outputs is not None:
            total += self.decoder(batch.outputs, len(batch.outputs.packed.tokens) if batch.tokens else 0, packed)
        if self.per_word:
            sides = [packed] if batch.outputs is None else [packed, batch.outputs.packed]
            total += self.per_word * sum(len(np.unique(side.tokens.numpy())) for side in sides)
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


def _lengths(packed: Packed) -> NDArray[np.int64]:
    return np.diff(packed.cu_seqlens.numpy()).astype(np.int64)


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
    import didact.nn.grouped  # noqa: F401  (registers them, cross-attention's as well)

    def pairs(qkv: torch.Tensor, table: torch.Tensor) -> int:
        _, _, heads, width = qkv.shape
        (_, _, causal), (window, _, _), *groups = table.tolist()
        lengths = np.repeat([length for _, _, length in groups], [n for _, n, _ in groups]).astype(np.int64)
        return round(_seen(lengths, None if window < 0 else window, bool(causal))) * heads * width

    def forward(qkv: torch.Tensor, table: torch.Tensor, *_: Any, **__: Any) -> int:
        return 4 * pairs(qkv, table)

    def backward(_g: Any, _o: Any, _l: Any, qkv: torch.Tensor, table: torch.Tensor, *_: Any, **__: Any) -> int:
        return 8 * pairs(qkv, table)

    def crossed(
        q: torch.Tensor, _kv: Any, table: torch.Tensor, keys: torch.Tensor, q_at: torch.Tensor, *_: Any, **__: Any
    ) -> int:
        _, (T, _, _), *groups = table.tolist()
        starts = np.cumsum([0, *(rows for n, rows, _ in groups for _ in range(n))])  # of each sequence, filled up
        looking = np.histogram(q_at[:T].cpu().numpy(), starts)[0]
        return 4 * int((looking * keys.numpy()).sum()) * q.shape[1] * q.shape[2]

    def crossed_backward(_g: Any, _o: Any, _l: Any, *others: Any, **__: Any) -> int:
        return 2 * crossed(*others)

    ops = torch.ops.didact
    found: dict[Any, Any] = {ops.grouped: forward, ops.grouped_backward: backward}
    found |= {ops.crossed: crossed, ops.crossed_backward: crossed_backward}
    for formula in found.values():
        formula._get_raw = True  # tensors, not their shapes
    return found
