"""Translation as transformers' own example does it (run_translation), without its Trainer: a plain loop.

MarianMTModel, batches padded to their longest and grouped by length as Trainer's `group_by_length` does, label
smoothing, fused AdamW, the rate by the share of the clock's budget that is gone; beams by its `generate`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.data.stream import BySequences, Stream
from didact.lab.bench import peer
from didact.model import Pretrained
from didact.runs.schema import FinetuneRun
from didact.tasks import Task, Translate
from didact.tasks.base import Dataset
from didact.tokenization.tokenizer import Tokenizer
from didact.training.schedule import Schedule
from didact.training.step import Step

WINDOW = 50  # batches that are sorted by length together, as in Trainer
AGREE = 1e-4  # the relative difference of the two sides' losses before anything is timed


def finetune(
    run: FinetuneRun, task: Task, tokenizer: Tokenizer, fresh: Pretrained, start: Path
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Predictions of the test set, and {steps, train_seconds}. fresh: our model, whose export `start` is."""
    assert isinstance(task, Translate)
    assert run.budget.minutes is not None
    items = task.items(run.data.train)  # type: ignore[arg-type]
    data = task.dataset(items, tokenizer)
    sources = [example.tokens.tolist() for example in data.examples]
    targets = [_answers(task, data, i) for i in range(len(sources))]
    torch.manual_seed(run.seed)
    model: Any = peer.open_model("MarianMTModel", start)
    pad = model.config.pad_token_id
    blank = model.config.vocab_size - 1
    theirs = loss_of(model.eval(), _padded(sources[:8], pad), _padded(targets[:8], -100), task, 0.0)
    check(fresh, task, task.dataset(items[:8], tokenizer), float(theirs.detach()))
    own = run.optimizer
    recipe = peer.Recipe(
        run.hardware.precision,
        learning_rate=own.learning_rate,
        betas=own.betas,
        eps=own.eps,
        weight_decay=own.weight_decay,
        clip=own.clip or math.inf,
    )
    optimizer = peer.optimizer(model, recipe)
    schedule = Schedule(run.schedule.kind, run.schedule.warmup)
    model.train()
    steps, began, budget = 0, time.perf_counter(), 60 * run.budget.minutes
    for some in _batches([len(s) for s in sources], run.batch.size[0], run.seed):
        done = (time.perf_counter() - began) / budget
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(done)
        ids, labels = _padded([sources[i] for i in some], pad), _padded([targets[i] for i in some], -100)
        with peer.autocast(recipe.precision):
            loss = loss_of(model, ids, labels, task)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
    seconds = time.perf_counter() - began
    model.eval()
    test = task.dataset(task.items(run.data.test or ""), tokenizer)
    written = _write(model, [e.tokens.tolist() for e in test.examples], task, tokenizer, pad, blank)
    return [{"target": text} for text in written], {"steps": steps, "train_seconds": seconds}


def loss_of(model: Any, ids: Tensor, labels: Tensor, task: Translate, smoothing: float | None = None) -> Tensor:
    """The mean over the targets' tokens, its share of smoothing spread over the words."""
    logits = model(input_ids=ids, attention_mask=(ids != model.config.pad_token_id).long(), labels=labels).logits
    words = logits[..., :-1]  # the last is the decoder's blank row, which nobody writes
    share = task.smoothing if smoothing is None else smoothing
    return F.cross_entropy(words.flatten(0, 1), labels.flatten(), label_smoothing=share)


def check(fresh: Pretrained, task: Translate, few: Dataset, theirs: float) -> None:
    """Both sides' losses of the same pairs, before anything is learned. Raises RuntimeError where they differ."""
    stream = Stream(few, task.objective(), BySequences(len(few)), 4096, seed=0, max_seqlen=task.largest)
    step = Step({"main": fresh.model}, task.objective()).eval()
    with torch.no_grad():
        parts = [part for batch in stream[0] for part in step(batch).parts.values()]
    ours = sum(float(part.total) for part in parts) / sum(part.count for part in parts)
    if abs(ours - theirs) > AGREE * abs(theirs):
        raise RuntimeError(f"the sides do not begin alike: {ours} and {theirs}")


def _answers(task: Translate, data: Dataset, number: int) -> list[int]:
    """The target's tokens with its end, as our side asks them."""
    (labels,) = task.objective().prepare(data.examples[number], np.random.default_rng(0)).labels
    return labels.values.tolist()


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def _batches(lengths: Sequence[int], size: int, seed: int) -> Iterator[list[int]]:
    """Without an end: shuffled, then sorted by length within windows of `WINDOW` batches."""
    order = torch.Generator().manual_seed(seed)
    while True:
        shuffled = torch.randperm(len(lengths), generator=order).tolist()
        found = []
        for start in range(0, len(shuffled), WINDOW * size):
            window = sorted(shuffled[start : start + WINDOW * size], key=lambda i: -lengths[i])
            found += [window[at : at + size] for at in range(0, len(window), size)]
        for number in torch.randperm(len(found), generator=order).tolist():
            yield found[number]


@torch.no_grad()
def _write(
    model: Any, sources: Sequence[Sequence[int]], task: Translate, tokenizer: Tokenizer, pad: int, blank: int
) -> list[str]:
    """Texts by its own beams, sources of like length together."""
    writing = dict(task.writing)
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    found = [""] * len(sources)
    end = model.config.eos_token_id
    for at in range(0, len(order), 32):
        some = order[at : at + 32]
        ids = _padded([sources[i] for i in some], pad)
        out = model.generate(
            ids,
            attention_mask=(ids != pad).long(),
            max_new_tokens=writing["maximum"],
            num_beams=writing.get("beams", 1),
            length_penalty=writing.get("length_penalty", 1.0),
            bad_words_ids=[[blank]],
            do_sample=False,
        )
        for i, row in zip(some, out.tolist(), strict=True):
            own = row[1 : row.index(end, 1)] if end in row[1:] else row[1:]
            found[i] = tokenizer.decode([token for token in own if token != pad])
    return found
