"""The pre-training step of XLNet: words in permuted orders, a model of BERT-mini's size, sequences of 16 to 128.

Lengths are even, which transformers' collator demands. It masks the content stream's targets, too, and sends no
attention mask, so that real tokens see padding; both cost what doing it right costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from didact.batch import Batch
from didact.config import ModelConfig
from didact.families import XLNET
from didact.lab.bench import material, ours, peer
from didact.lab.bench.measure import Work, equal_start
from didact.lab.bench.peer import Recipe
from didact.lab.bench.sides import MINI, SIZES, Sides, StepBenchmark, peer_work
from didact.objectives import Permuted

XLNET_MINI = replace(XLNET.base, **{name: getattr(MINI, name) for name in SIZES})


@dataclass(frozen=True)
class PermutedStep(StepBenchmark):
    """Dropout of attention is 0 on our side; on theirs it is that of hidden states, both 0 unless told otherwise:
    transformers' XLNet has one number for both.
    """

    name: ClassVar[str] = "permuted"

    config: ModelConfig = XLNET_MINI
    dropout: float = 0.0
    kinds: tuple[str, ...] = ("mixed",)

    def sides(self, kind: str, folder: Path) -> Sides:
        config = replace(self.config, dropout=self.dropout, attention_dropout=self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        objective = Permuted()
        lengths = [n + n % 2 for n in self.lengths(kind)]
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, 2 * self.sequences * self.longest)
        model = ours.made(config, objective.heads, tokenizer, folder, XLNET.name).model
        groups = [ours.members(stream, step) for step in range(self.steps)]
        collator = peer.transformers().DataCollatorForPermutationLanguageModeling(peer.open_tokenizer(folder))

        def theirs(compiled: bool, recipe: Recipe) -> Work:
            opened = peer.open_model("XLNetLMHeadModel", folder)
            return peer_work(peer.trainer(opened, recipe, compiled, dynamic=kind == "mixed"), collator, groups, recipe)

        started = equal_start(
            ours.mean_loss(model, objective, stream[0]),
            peer_loss(peer.open_model("XLNetLMHeadModel", folder), stream[0]),
        )
        name = f"XLNet {config.layers} x {config.width}, {config.vocabulary} pieces"
        settings = {"attention_dropout": self.dropout}
        return Sides(name, {"main": model}, objective, stream, theirs, sum(lengths), started, settings)


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
