"""Ask a model a task's questions: sequences sorted by length, packed by a budget of tokens, answered without gradients.

Shapes: m sequences, n rows that a sequence asks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from didact.batch import Batch, Prepared
from didact.data.flat import lay_prepared
from didact.tasks.base import Array, Dataset, Prediction, Task
from didact.tasks.columns import Source
from didact.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing import Protocol

    class Answering(Protocol):
        """A model: logits for each of the batch's labels."""

        def __call__(self, batch: Batch) -> tuple[Tensor, ...]: ...


def answer(
    model: nn.Module,
    task: Task,
    dataset: Dataset,
    batch_tokens: int = 8192,
    device: torch.device | str | None = None,
    precision: torch.dtype | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[Array]:
    """Logits of each sequence's asked rows, float32, in the dataset's order.

    batch_tokens: at most so many in one forward pass (a longer sequence goes alone); device: where the batches go,
    None = where the model is; precision: of autocast, None = as the weights are; progress(sequences answered).
    The model is put into evaluation mode and back.
    """
    where = torch.device(device) if device is not None else next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(where.type, precision) if precision else nullcontext():
            return _answer(model, task, dataset, batch_tokens, where, progress)
    finally:
        model.train(training)


def _answer(
    model: Answering,
    task: Task,
    dataset: Dataset,
    batch_tokens: int,
    device: torch.device,
    progress: Callable[[int], object] | None,
) -> list[Array]:
    sizes = np.array([len(example) for example in dataset.examples], np.int64)
    answers: list[Any] = [None] * len(dataset)
    heads = task.heads()
    for some in batches(sizes, batch_tokens):
        prepared = [Prepared(dataset[i], (task.ask(dataset[i]),)) for i in some]
        batch = lay_prepared(prepared).batch(np.arange(len(some)))
        (logits,) = model(batch.to(device))
        counts = [heads[p.labels[0].head].answers(p.labels[0]) for p in prepared]
        rows = logits.float().cpu().numpy()[: sum(counts)]
        for i, own in zip(some, np.split(rows, np.cumsum(counts)[:-1]), strict=True):
            answers[i] = own
        if progress is not None:
            progress(len(some))
    return answers


def batches(sizes: Array, batch_tokens: int) -> list[list[int]]:
    """sizes (m,) in tokens -> runs of indices, longest first, each of at most `batch_tokens` (one index at least)."""
    runs: list[list[int]] = []
    room = 0
    for i in np.argsort(-sizes, kind="stable").tolist():
        if not runs or sizes[i] > room:
            runs.append([])
            room = batch_tokens
        runs[-1].append(i)
        room -= int(sizes[i])
    return runs


def predict(
    model: nn.Module, task: Task, tokenizer: Tokenizer, records: Source, batch_tokens: int = 8192
) -> list[Prediction]:
    """Records without labels (a file, or mappings from Python) -> one prediction a record, JSON-able."""
    dataset = task.read(records, tokenizer, labelled=False)
    return task.decode(dataset, answer(model, task, dataset, batch_tokens))
