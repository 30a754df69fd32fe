"""The pre-training step of XLNet: words in permuted orders, a model of BERT-mini's size, sequences of 16 to 128.

Lengths are even, which transformers' collator demands. It masks the content stream's targets, too, and sends no
attention mask, so that real tokens see padding; both cost what doing it right costs. Beyond that the sides are alike:
both draw spans and orders, collate, run forward and backward, clip and apply fused AdamW, from equal weights.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from didact.batch import Batch
from didact.config import ModelConfig
from didact.families import XLNET
from didact.lab.bench import machine, material, ours, peer
from didact.lab.bench.measure import Benchmark, Case, Outcome, Work, both_sides, equal_start, take_turns
from didact.lab.bench.peer import Recipe
from didact.lab.bench.step import MINI, peer_work
from didact.objectives import Permuted

SIZES = ("vocabulary", "layers", "width", "heads", "feedforward")
XLNET_MINI = replace(XLNET.base, **{name: getattr(MINI, name) for name in SIZES})


@dataclass(frozen=True)
class PermutedStep(Benchmark):
    """As `TrainingStep`; kinds: of lengths. Dropout of attention is 0 on our side; on theirs it is that of hidden
    states, both 0 unless told otherwise: transformers' XLNet has one number for both.
    """

    name: ClassVar[str] = "permuted"

    config: ModelConfig = XLNET_MINI
    sequences: int = 32
    longest: int = 128
    steps: int = 2
    dropout: float = 0.0
    compiled: bool = True
    precisions: tuple[str, ...] | None = None
    kinds: tuple[str, ...] = ("mixed",)

    def small(self) -> PermutedStep:
        tiny = replace(self.config, vocabulary=200, layers=2, width=16, heads=2, feedforward=32)
        sizes = replace(self, config=tiny, sequences=4, longest=16, steps=1)
        return replace(sizes, compiled=False, precisions=("fp32",))

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for precision in self.precisions or machine.precisions():
            for kind in self.kinds:
                with tempfile.TemporaryDirectory() as folder:
                    yield self._outcome(kind, Recipe(precision), repeats, Path(folder))
                torch.compiler.reset()

    def _outcome(self, kind: str, recipe: Recipe, repeats: int, folder: Path) -> Outcome:
        config = replace(self.config, dropout=self.dropout, attention_dropout=self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        objective = Permuted()
        drawn = material.lengths(kind, self.sequences * self.steps, seed=1, longest=self.longest)
        lengths = [n + n % 2 for n in drawn]
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, 2 * self.sequences * self.longest)
        model = ours.made(config, objective.heads, tokenizer, folder, XLNET.name).model
        groups = [ours.members(stream, step) for step in range(self.steps)]
        opened = peer.open_tokenizer(folder)
        collator = peer.transformers().DataCollatorForPermutationLanguageModeling(opened)
        batches = [stream[step] for step in range(self.steps)]

        def theirs(compiled: bool) -> Work:
            step = peer.trainer(peer.open_model("XLNetLMHeadModel", folder), recipe, compiled, dynamic=kind == "mixed")
            return peer_work(step, collator, groups)

        started = equal_start(
            ours.mean_loss(model, objective, batches[0]),
            peer_loss(peer.open_model("XLNetLMHeadModel", folder), batches[0]),
        )
        contenders = both_sides(
            lambda: ours.trainer(model, objective, stream, recipe, self.steps, self.compiled), theirs, self.compiled
        )
        settings = {
            "model": f"XLNet {config.layers} x {config.width}, {config.vocabulary} pieces",
            "sequences": self.sequences,
            "tokens": sum(lengths) // self.steps,
            "longest": self.longest,
            "precision": recipe.precision,
            "dropout": self.dropout,
            "clip": recipe.clip,
            "steps_a_round": self.steps,
            "equal_start": started,
        }
        case = Case(self.name, f"{kind} lengths, {recipe.precision}", "real tokens", tuple(contenders), settings)
        return take_turns(case, repeats)


@torch.no_grad()
def peer_loss(model: Any, batches: Sequence[Batch]) -> float:
    """transformers' loss on what we prepared: padded, the order as a mask, a target for each query row."""
    model.eval()
    total = count = 0.0
    for batch in batches:
        for inputs, labels in _sequences(batch):
            loss = model(**inputs, labels=labels).loss
            total, count = total + float(loss) * labels.numel(), count + labels.numel()
    return total / count


def _sequences(batch: Batch) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Each sequence of a pack as transformers wants it, alone, and the right answers (1, m)."""
    packed, rule, (asked,) = batch.inputs.packed, batch.inputs.visibility, batch.labels
    assert packed.queries is not None
    assert rule.rank is not None
    answers = dict(zip(asked.rows.tolist(), asked.values.tolist(), strict=True))
    asking = np.zeros(len(packed.tokens), bool)
    asking[packed.queries.numpy()] = True
    starts = packed.cu_seqlens.tolist()
    for start, stop in itertools.pairwise(starts):
        own = torch.from_numpy(np.arange(start, stop)[~asking[start:stop]])
        queries = [row for row in range(start, stop) if asking[row]]
        rank = rule.rank[own]
        # A row of the context (0) sees the context; another what is before it, and in the content stream itself.
        hidden = (rank[None, :] > 0) & (rank[None, :] >= rank[:, None])
        mapping = torch.zeros(len(queries), len(own))
        mapping[torch.arange(len(queries)), packed.positions[queries]] = 1.0
        inputs = {
            "input_ids": packed.tokens[own][None],
            "perm_mask": hidden.float()[None],
            "target_mapping": mapping[None],
        }
        if packed.segments is not None:
            inputs["token_type_ids"] = packed.segments[own][None]
        yield inputs, torch.tensor([[answers[row] for row in queries]])
