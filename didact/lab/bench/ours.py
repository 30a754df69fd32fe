"""Our side: models and steps as a run has them (`training.ready`), without the run's files and lines."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from didact.batch import Batch, Example
from didact.config import ModelConfig
from didact.data.stream import BySequences, Listed, Stream
from didact.heads import Head
from didact.hub import export
from didact.lab.bench.measure import Work
from didact.lab.bench.peer import Recipe
from didact.model import Model, Pretrained
from didact.objectives.base import Objective
from didact.tokenization.tokenizer import Tokenizer
from didact.training import policy
from didact.training.checkpoint import RunFolder
from didact.training.clipping import clip
from didact.training.optim import AdamW
from didact.training.parallel import Ranks
from didact.training.ready import get_ready
from didact.training.schedule import Budget
from didact.training.settings import Settings
from didact.training.step import Step


def made(
    config: ModelConfig, heads: Mapping[str, Head], tokenizer: Tokenizer, folder: Path, family: str = "bert"
) -> Pretrained:
    """A model with random weights, and the same one written to `folder` for the peer to open."""
    pretrained = Pretrained(Model(config, heads, torch.Generator().manual_seed(0)), tokenizer, family)
    export(pretrained, folder)
    return pretrained


def stream(examples: Sequence[Example], objective: Objective, sequences: int, micro_tokens: int) -> Stream:
    """Steps of so many sequences over the examples, in an order shuffled anew each time through."""
    return Stream(Listed(examples), objective, BySequences(sequences), micro_tokens)


def members(stream: Stream, step: int) -> list[Example]:
    """The examples of a step as they are before they are prepared: what the peer collates."""
    assert isinstance(stream.batch, BySequences)
    numbers = np.arange(stream.batch.before(step), stream.batch.before(step + 1))
    return stream.examples(numbers)[0]


def trainer(
    models: nn.Module | Mapping[str, nn.Module],
    objective: Objective,
    stream: Stream,
    recipe: Recipe,
    steps: int,
    compiled: bool,
) -> Work:
    """Work that takes the stream's first `steps` steps, each prepared and packed, run forward and backward, clipped
    and applied, where the recipe says; returns real tokens. The first call compiles. models: by name, or "main" alone.
    """
    optimizer = AdamW(recipe.learning_rate, recipe.betas, recipe.eps, recipe.weight_decay)
    settings = Settings(
        Budget(steps=steps),
        optimizer,
        compile="on" if compiled else "off",
        precision=recipe.precision,
        device=recipe.device,
    )
    plan = policy.plan(settings.device, settings.precision, settings.kernel, settings.compile)
    step = Step({"main": models} if isinstance(models, nn.Module) else models, objective)
    with tempfile.TemporaryDirectory() as folder:
        ready = get_ready(step, stream, settings, plan, RunFolder(Path(folder)), Ranks(), lambda line: None)  # noqa: ARG005
    parameters = list(step.parameters())
    known = [stream[number] for number in range(steps)] if recipe.beforehand else None

    def work(turn: int) -> float:  # noqa: ARG001
        tokens = 0
        for number in range(steps):
            batches = stream[number] if known is None else known[number]
            counts = counted(batches)
            for batch in batches:
                with plan.autocast():
                    loss = ready.wrapped(batch.to(plan.device))
                ready.wrapped.backward(loss.scaled(counts))
                tokens += batch.tokens
            clip(parameters, recipe.clip, ready.optimizer)
            ready.optimizer.step()
            ready.optimizer.zero_grad(set_to_none=True)
        return tokens

    return work


def counted(batches: Sequence[Batch]) -> dict[str, float]:
    """What a step's losses are divided by: the counts of all its micro-batches."""
    counts: dict[str, float] = {}
    for batch in batches:
        for name, count in batch.counts.items():
            counts[name] = counts.get(name, 0.0) + count
    return counts


@torch.no_grad()
def mean_loss(models: Model | Mapping[str, Model], objective: Objective, batches: Sequence[Batch]) -> float:
    """The loss of a step's micro-batches, fp32, without dropout. models: by name, or "main" alone."""
    step = Step({"main": models} if isinstance(models, nn.Module) else models, objective).eval()
    counts = counted(batches)
    return sum(float(step(batch).scaled(counts)) for batch in batches)


def with_dropout(config: ModelConfig, hidden: float) -> ModelConfig:
    """The configuration with this dropout of hidden states and none of attention."""
    return replace(config, dropout=hidden, attention_dropout=0.0)


def sizes(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[int]:
    """Tokens of each text as a model reads it, special ones included."""
    around = tokenizer.template.overhead(False)
    return [min(longest, len(encoded) + around) for encoded in tokenizer.encode_many(texts)]
