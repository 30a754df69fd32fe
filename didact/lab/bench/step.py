"""The pre-training step: masked words of BERT-mini, 32 sequences of 128 tokens, or of 16 to 128.

Both sides collate, mask, run forward and backward, clip and apply fused AdamW, from equal weights, on the same
sequences, with the same dropout.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from didact.batch import Batch, Example
from didact.config import ModelConfig
from didact.lab.bench import machine, material, ours, peer
from didact.lab.bench.measure import Benchmark, Case, Contender, Outcome, Work, both_sides, equal_start, take_turns
from didact.lab.bench.peer import Recipe
from didact.objectives import Masked
from didact.training.flops import matmul_peak, step_flops
from didact.training.policy import DTYPES

MINI = ModelConfig(layers=4, width=256, heads=4, feedforward=1024)


@dataclass(frozen=True)
class TrainingStep(Benchmark):
    """sequences, longest: of a step; steps: of a round; dropout: of hidden states (of attention it is 0);
    precisions: None = those the processor has units for; emulated: where it has none for bf16, show what transformers'
    bf16 does there all the same.
    """

    name: ClassVar[str] = "step"

    config: ModelConfig = MINI
    sequences: int = 32
    longest: int = 128
    steps: int = 2
    dropout: float = 0.1
    compiled: bool = True
    precisions: tuple[str, ...] | None = None
    emulated: bool = True
    peak_sizes: tuple[int, ...] = (1024, 2048, 4096)

    def small(self) -> TrainingStep:
        tiny = replace(self.config, vocabulary=200, layers=2, width=16, heads=2, feedforward=32)
        sizes = replace(self, config=tiny, sequences=4, longest=16, steps=1, peak_sizes=(64,))
        return replace(sizes, compiled=False, precisions=("fp32",), emulated=False)

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for precision in self.precisions or machine.precisions():
            for kind in ("full", "mixed"):
                with tempfile.TemporaryDirectory() as folder:
                    yield self._outcome(kind, Recipe(precision), repeats, Path(folder))
                torch.compiler.reset()

    def _outcome(self, kind: str, recipe: Recipe, repeats: int, folder: Path) -> Outcome:
        config = ours.with_dropout(self.config, self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        assert tokenizer.mask is not None
        objective = Masked(tokenizer.mask, config.vocabulary, tokenizer.special_ids)
        lengths = material.lengths(kind, self.sequences * self.steps, seed=1, longest=self.longest)
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, self.sequences * self.longest)
        model = ours.made(config, objective.heads, tokenizer, folder).model
        groups = [ours.members(stream, step) for step in range(self.steps)]
        collator = collator_of(folder)

        def theirs(compiled: bool, recipe: Recipe = recipe) -> Work:
            opened = peer.open_model("BertForMaskedLM", folder)
            step = peer.trainer(opened, recipe, compiled, dynamic=kind == "mixed")
            return peer_work(step, collator, groups)

        batches = [stream[step] for step in range(self.steps)]
        started = equal_start(
            ours.mean_loss(model, objective, batches[0]),
            peer_loss(peer.open_model("BertForMaskedLM", folder), batches[0]),
        )
        flops = sum(step_flops({"main": model}, of_step) for of_step in batches)
        contenders = both_sides(
            lambda: ours.trainer(model, objective, stream, recipe, self.steps, self.compiled), theirs, self.compiled
        )
        if self.emulated and not machine.has_bf16():
            slow = replace(recipe, precision="bf16")
            contenders.append(Contender("transformers, eager, bf16 (emulated)", lambda: theirs(False, slow)))
        settings = {
            "model": f"BERT {config.layers} x {config.width}, {config.vocabulary} pieces",
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
        peak = matmul_peak(torch.device("cpu"), DTYPES[recipe.precision], self.peak_sizes)
        reached = flops / done.timings["didact"].time.median
        note = (
            f"didact reaches {reached / 1e9:.1f} GFLOP/s, {reached / peak:.1%} of the {recipe.precision} matmul peak "
            f"({peak / 1e9:.1f} GFLOP/s, best of square n {', '.join(map(str, self.peak_sizes))})"
        )
        return replace(done, notes=(*done.notes, note), facts={"share_of_peak": reached / peak, "peak": peak})


def collator_of(folder: Path, rate: float = 0.15, **shares: float) -> Any:
    """transformers' masking collator for the tokenizer in `folder`; shares: its own names of what becomes of tokens."""
    tokenizer = peer.open_tokenizer(folder)
    return peer.transformers().DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=rate, **shares)


def peer_work(
    step: Callable[[Any], float], collator: Callable[[Any], Any], groups: Sequence[Sequence[Example]]
) -> Work:
    """A round of theirs: collate and train on each group of sequences; returns real tokens."""
    rows = [material.as_features(group) for group in groups]
    tokens = sum(len(example) for group in groups for example in group)

    def work(turn: int) -> float:  # noqa: ARG001
        for features in rows:
            step(collator(features))
        return tokens

    return work


@torch.no_grad()
def peer_loss(model: Any, batches: Sequence[Batch]) -> float:
    """transformers' loss on what we prepared, padded and with -100 for rows nobody asks, without dropout."""
    model.eval()
    total = count = 0.0
    for batch in batches:
        packed, (asked,) = batch.inputs.packed, batch.labels
        labels = torch.full_like(packed.tokens, -100)
        labels[asked.rows] = asked.values
        mask = packed.pad(torch.ones_like(packed.tokens))
        loss = model(input_ids=packed.pad(packed.tokens), attention_mask=mask, labels=packed.pad(labels, -100)).loss
        total, count = total + float(loss) * asked.count, count + asked.count
    return total / count
