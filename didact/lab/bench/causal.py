"""The next-token step: a GPT-2 of BERT-mini's size, 32 sequences of 16 to 128 tokens, or of 128 each.

Both sides collate, run forward and backward, clip and apply fused AdamW, from equal weights, on the same sequences,
with the same dropout; every token but the first of each sequence is asked. transformers pads, as its own collator does
(`DataCollatorForLanguageModeling(mlm=False)`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from didact.batch import Batch
from didact.config import ModelConfig
from didact.families import GPT2
from didact.lab.bench import machine, material, ours, peer
from didact.lab.bench.measure import Benchmark, Case, Outcome, Work, both_sides, equal_start, take_turns
from didact.lab.bench.peer import Recipe
from didact.lab.bench.step import peer_work
from didact.objectives import Causal
from didact.training.flops import step_flops

MINI = replace(GPT2.base, vocabulary=30522, layers=4, width=256, heads=4, feedforward=1024)


@dataclass(frozen=True)
class CausalStep(Benchmark):
    """sequences, longest: of a step; steps: of a round; kinds: of lengths, see `material.lengths`; dropout: of hidden
    states (of attention it is 0); precisions: None = those the processor has units for.
    """

    name: ClassVar[str] = "causal"

    config: ModelConfig = MINI
    sequences: int = 32
    longest: int = 128
    steps: int = 2
    kinds: tuple[str, ...] = ("mixed", "full")
    dropout: float = 0.1
    compiled: bool = True
    precisions: tuple[str, ...] | None = None

    def small(self) -> CausalStep:
        tiny = replace(self.config, vocabulary=200, layers=2, width=16, heads=2, feedforward=32)
        return replace(self, config=tiny, sequences=4, longest=16, steps=1, compiled=False, precisions=("fp32",))

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for precision in self.precisions or machine.precisions():
            for kind in self.kinds:
                with tempfile.TemporaryDirectory() as folder:
                    yield self._outcome(kind, Recipe(precision), repeats, Path(folder))
                torch.compiler.reset()

    def _outcome(self, kind: str, recipe: Recipe, repeats: int, folder: Path) -> Outcome:
        config = ours.with_dropout(self.config, self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        objective = Causal()
        lengths = material.lengths(kind, self.sequences * self.steps, seed=1, longest=self.longest)
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, self.sequences * self.longest)
        model = ours.made(config, objective.heads, tokenizer, folder, GPT2.name).model
        groups = [ours.members(stream, step) for step in range(self.steps)]
        collator = peer.transformers().DataCollatorForLanguageModeling(peer.open_tokenizer(folder), mlm=False)

        def theirs(compiled: bool) -> Work:
            opened = peer.open_model("GPT2LMHeadModel", folder, use_cache=False)
            step = peer.trainer(opened, recipe, compiled, dynamic=kind == "mixed")
            return peer_work(step, collator, groups)

        batches = [stream[step] for step in range(self.steps)]
        started = equal_start(
            ours.mean_loss(model, objective, batches[0]),
            peer_loss(peer.open_model("GPT2LMHeadModel", folder), batches[0]),
        )
        contenders = both_sides(
            lambda: ours.trainer(model, objective, stream, recipe, self.steps, self.compiled), theirs, self.compiled
        )
        settings = {
            "model": f"GPT-2 {config.layers} x {config.width}, {config.vocabulary} pieces",
            "sequences": self.sequences,
            "tokens": sum(lengths) // self.steps,
            "longest": self.longest,
            "precision": recipe.precision,
            "dropout": self.dropout,
            "attention_dropout": 0.0,
            "clip": recipe.clip,
            "steps_a_round": self.steps,
            "equal_start": started,
        }
        case = Case(self.name, f"{kind} lengths, {recipe.precision}", "real tokens", tuple(contenders), settings)
        done = take_turns(case, repeats)
        flops = sum(step_flops({"main": model}, of_step) for of_step in batches)
        reached = flops / done.timings["didact"].time.median
        return replace(done, notes=(*done.notes, f"didact reaches {reached / 1e9:.1f} GFLOP/s"))


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
