"""The next-token step: a GPT-2 of BERT-mini's size, 32 sequences of 16 to 128 tokens, or of 128 each.

Every token but the first of each sequence is asked. transformers pads, as its own collator does
(`DataCollatorForLanguageModeling(mlm=False)`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from didact.batch import Batch
from didact.config import ModelConfig
from didact.families import GPT2
from didact.lab.bench import material, ours, peer
from didact.lab.bench.measure import Work, equal_start
from didact.lab.bench.peer import Recipe
from didact.lab.bench.sides import MINI, SIZES, Sides, StepBenchmark, peer_work
from didact.objectives import Causal

GPT2_MINI = replace(GPT2.base, **{name: getattr(MINI, name) for name in SIZES})


@dataclass(frozen=True)
class CausalStep(StepBenchmark):
    """The step of `causal`."""

    name: ClassVar[str] = "causal"

    config: ModelConfig = GPT2_MINI
    kinds: tuple[str, ...] = ("mixed", "full")

    def sides(self, kind: str, folder: Path) -> Sides:
        config = ours.with_dropout(self.config, self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        objective = Causal()
        lengths = self.lengths(kind)
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, self.sequences * self.longest)
        model = ours.made(config, objective.heads, tokenizer, folder, GPT2.name).model
        groups = [ours.members(stream, step) for step in range(self.steps)]
        collator = peer.transformers().DataCollatorForLanguageModeling(peer.open_tokenizer(folder), mlm=False)

        def theirs(compiled: bool, recipe: Recipe) -> Work:
            opened = peer.open_model("GPT2LMHeadModel", folder, use_cache=False)
            return peer_work(peer.trainer(opened, recipe, compiled, dynamic=kind == "mixed"), collator, groups, recipe)

        started = equal_start(
            ours.mean_loss(model, objective, stream[0]),
            peer_loss(peer.open_model("GPT2LMHeadModel", folder), stream[0]),
        )
        name = f"GPT-2 {config.layers} x {config.width}, {config.vocabulary} pieces"
        return Sides(name, {"main": model}, objective, stream, theirs, sum(lengths), started)


@torch.no_grad()
def peer_loss(model: Any, batches: Sequence[Batch]) -> float:
    """transformers' loss on the same sequences, padded and with -100 for padding, without dropout."""
    model.eval()
    total = count = 0.0
    for batch in batches:
        packed, (asked,) = batch.inputs.packed, batch.labels
        labels = packed.pad(packed.tokens, -100)
        mask = packed.pad(torch.ones_like(packed.tokens))
        loss = model(input_ids=packed.pad(packed.tokens), attention_mask=mask, labels=labels).loss
        total, count = total + float(loss) * asked.count, count + asked.count
    return total / count
