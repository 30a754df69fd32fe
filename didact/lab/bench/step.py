"""The pre-training step: masked words of BERT-mini, 32 sequences of 128 tokens, or of 16 to 128."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from didact.lab.bench import machine, material, ours, peer
from didact.lab.bench.measure import Contender, Work, equal_start
from didact.lab.bench.peer import Recipe
from didact.lab.bench.sides import Sides, StepBenchmark, padded_loss, peer_work
from didact.objectives import Masked


@dataclass(frozen=True)
class TrainingStep(StepBenchmark):
    """emulated: where a processor has no units for bf16, show what transformers' bf16 does there all the same."""

    name: ClassVar[str] = "step"

    emulated: bool = True

    def small(self) -> Self:
        return replace(super().small(), emulated=False)

    def sides(self, kind: str, folder: Path) -> Sides:
        config = ours.with_dropout(self.config, self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        assert tokenizer.mask is not None
        objective = Masked(tokenizer.mask, config.vocabulary, tokenizer.special_ids)
        lengths = self.lengths(kind)
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, self.sequences * self.longest)
        model = ours.made(config, objective.heads, tokenizer, folder).model
        groups = [ours.members(stream, step) for step in range(self.steps)]
        collator = collator_of(folder)

        def theirs(compiled: bool, recipe: Recipe) -> Work:
            opened = peer.open_model("BertForMaskedLM", folder)
            return peer_work(peer.trainer(opened, recipe, compiled, dynamic=kind == "mixed"), collator, groups, recipe)

        started = equal_start(
            ours.mean_loss(model, objective, stream[0]),
            padded_loss(peer.open_model("BertForMaskedLM", folder), stream[0]),
        )
        name = f"BERT {config.layers} x {config.width}, {config.vocabulary} pieces"
        return Sides(name, {"main": model}, objective, stream, theirs, sum(lengths), started)

    def others(self, sides: Sides, recipe: Recipe) -> list[Contender]:
        if not self.emulated or self.device != "cpu" or machine.has_bf16():
            return []
        slow = replace(recipe, precision="bf16")
        return [Contender("transformers, eager, bf16 (emulated)", lambda: sides.theirs(False, slow))]


def collator_of(folder: Path, rate: float = 0.15, **shares: float) -> Any:
    """transformers' masking collator for the tokenizer in `folder`; shares: its own names of what becomes of tokens."""
    tokenizer = peer.open_tokenizer(folder)
    return peer.transformers().DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=rate, **shares)
