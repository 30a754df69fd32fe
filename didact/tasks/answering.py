"""Ask a model a task's questions: sequences sorted by length, packed by a budget of tokens, answered without gradients.

A task whose answers are texts is answered by a decoding function that is handed in; how likely a model finds what
should have been written needs none (`forced`).

Shapes: m sequences, n rows that a sequence asks, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from didact.batch import Batch, Example, Prepared
from didact.data.lay import lay_prepared
from didact.errors import InputError
from didact.heads.cross_entropy import cross_entropy
from didact.randomness import generators, keys
from didact.tasks.base import Array, Counts, Dataset, Prediction, Task
from didact.tasks.columns import Source
from didact.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing import Protocol

    class Answering(Protocol):
        """A model: logits for each of the batch's labels."""

        def __call__(self, batch: Batch) -> tuple[Tensor, ...]: ...


Write = Callable[[Sequence[Example]], Sequence[str]]
"""Prompts -> what is written after each: `tokens`, read as they are, or as text `targets["prompt"]`"""


def answer(
    model: nn.Module,
    task: Task,
    dataset: Dataset,
    batch_tokens: int = 8192,
    device: torch.device | str | None = None,
    precision: torch.dtype | None = None,
    progress: Callable[[int], object] | None = None,
    write: Write | None = None,
) -> list[Any]:
    """Logits of each sequence's asked rows, float32, in the dataset's order; of a task whose answers are written, what
    `write` wrote for each.

    batch_tokens: at most so many in one forward pass (a longer sequence goes alone); device: where the batches go,
    None = where the model is; precision: of autocast, None = as the weights are; progress(sequences answered).
    The model is put into evaluation mode and back. Raises InputError where a text is to be written and nothing writes.
    """
    where = torch.device(device) if device is not None else next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), _in(precision, where):
            if task.written:
                return _written(write, dataset, progress)
            return _answer(model, task, dataset, batch_tokens, where, progress)
    finally:
        model.train(training)


def _in(precision: torch.dtype | None, where: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(where.type, precision) if precision else nullcontext()


def _written(write: Write | None, dataset: Dataset, progress: Callable[[int], object] | None) -> list[Any]:
    if write is None:
        raise InputError("a task whose answers are written, and no decoding function", expected="one (`write`)")
    texts = list(write(dataset.examples))
    if len(texts) != len(dataset):
        raise ValueError(f"{len(texts)} texts written for {len(dataset)} prompts")
    if progress is not None:
        progress(len(texts))
    return texts


def forced(
    model: nn.Module,
    task: Task,
    dataset: Dataset,
    batch_tokens: int = 8192,
    device: torch.device | str | None = None,
    precision: torch.dtype | None = None,
) -> dict[str, float]:
    """How likely a model finds the right answers' tokens, those before them being known (teacher forcing): "nll", nats
    a token, and "token_accuracy", the share of tokens that it finds likeliest. What an objective hides by chance is
    hidden alike at every call. precision: as in `answer`.
    """
    where = torch.device(device) if device is not None else next(model.parameters()).device
    objective, training = task.objective(), model.training
    total = right = count = 0.0
    model.eval()
    try:
        with torch.inference_mode(), _in(precision, where):
            drawn = generators(keys(0, each=np.arange(len(dataset))))
            prepared = [objective.prepare(example, rng) for example, rng in zip(dataset.examples, drawn, strict=True)]
            for batch in _packs(prepared, batch_tokens):
                for asked, logits in zip(batch.labels, model(batch.to(where)), strict=True):
                    if asked.values.ndim > 1:  # not a question about tokens
                        continue
                    losses, hits = cross_entropy(logits[: len(asked.values)], asked.values.to(where))
                    total, right = total + float(losses.cpu().double().sum()), right + float(hits.sum())
                    count += len(losses)
    finally:
        model.train(training)
    return {"nll": total / count if count else np.nan, "token_accuracy": right / count if count else np.nan}


def _packs(prepared: Sequence[Prepared], batch_tokens: int) -> Iterator[Batch]:
    for some in batches(np.array([p.size for p in prepared], np.int64), batch_tokens):
        yield lay_prepared([prepared[i] for i in some]).batch(np.arange(len(some)))


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
        prepared = [task.posed(dataset[i]) for i in some]
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
    model: nn.Module,
    task: Task,
    tokenizer: Tokenizer,
    records: Source,
    batch_tokens: int = 8192,
    write: Write | None = None,
    counts: Counts | None = None,
) -> list[Prediction]:
    """Records without labels (a file, or mappings from Python) -> one prediction a record, JSON-able. write: as in
    `answer`; counts: where what is cut is counted.
    """
    dataset = task.read(records, tokenizer, labelled=False)
    if counts is not None:
        counts.update(dataset.counts)
    return task.decode(dataset, answer(model, task, dataset, batch_tokens, write=write))
