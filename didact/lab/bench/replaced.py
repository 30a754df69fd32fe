"""The step of replaced-token detection: generator and model of BERT-mini's size, sequences of 16 to 128 tokens.

The peer is what one writes around transformers' two models, which has neither the sampler nor the joint step: its
collator masks, its generator answers at every row, a categorical draw fills what was masked, its discriminator reads;
tables are shared by handing over the module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Batch
from didact.config import ModelConfig
from didact.families import ELECTRA
from didact.lab.bench import material, ours, peer
from didact.lab.bench.measure import Work, equal_start
from didact.lab.bench.peer import Recipe
from didact.lab.bench.sides import Sides, StepBenchmark, peer_work
from didact.lab.bench.step import collator_of
from didact.model import Model, Pretrained, beside
from didact.objectives import Replaced
from didact.runs.common import exporter

ELECTRA_MINI = replace(ELECTRA.base, layers=4, width=256, heads=4, feedforward=1024)


@dataclass(frozen=True)
class Detection(StepBenchmark):
    """The step of `replaced`."""

    name: ClassVar[str] = "rtd"

    config: ModelConfig = ELECTRA_MINI
    kinds: tuple[str, ...] = ("mixed",)

    def small(self) -> Self:
        sizes = super().small()
        return replace(sizes, config=replace(sizes.config, embedding_width=8))

    def sides(self, kind: str, folder: Path) -> Sides:
        config = ours.with_dropout(self.config, self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        assert tokenizer.mask is not None
        objective = Replaced(tokenizer.mask, config.vocabulary, tokenizer.special_ids)
        lengths = self.lengths(kind)
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, self.sequences * self.longest)
        drawn = torch.Generator().manual_seed(0)
        models = beside(Model(config, objective.heads, drawn), objective, drawn)
        exporter(lambda: Pretrained(models["main"], tokenizer, ELECTRA.name))(folder, models)
        groups = [ours.members(stream, step) for step in range(self.steps)]
        collator = collator_of(folder, mask_replace_prob=objective.mask, random_replace_prob=0.0)

        def theirs(compiled: bool, recipe: Recipe) -> Work:
            joint = Joint(folder, objective.detection)
            return peer_work(peer.trainer(joint, recipe, compiled, dynamic=True), collator, groups, recipe)

        started = equal_start(
            ours.mean_loss(models, objective, stream[0]), peer_loss(Joint(folder, objective.detection), stream[0])
        )
        small = models["generator"].config
        generator = f"{small.layers} x {small.width}, embeddings of {small.embedding_width} shared"
        name = f"ELECTRA {config.layers} x {config.width}, {config.vocabulary} pieces"
        return Sides(name, models, objective, stream, theirs, sum(lengths), started, {"generator": generator})


@dataclass
class Answer:
    """What transformers' trainers read of a model's answer."""

    loss: Tensor


class Joint(nn.Module):
    """transformers' generator and discriminator in one module, trained as Clark et al. (2020) say (§2)."""

    def __init__(self, folder: Path, detection: float) -> None:
        super().__init__()
        self.discriminator: Any = peer.open_model("ElectraForPreTraining", folder)
        self.generator: Any = peer.open_model("ElectraForMaskedLM", folder / "generator")
        self.generator.electra.embeddings = self.discriminator.electra.embeddings
        self.generator.tie_weights()
        self.detection = detection

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, noise: Tensor | None = None) -> Answer:
        """input_ids, attention_mask, labels (B, L): masked by the collator, -100 where nothing is asked. noise (B, L):
        the numbers to draw by, None = torch's own.
        """
        masked = self.generator(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
        asked = labels != -100
        with torch.no_grad():
            probability = torch.softmax(masked.logits[asked].float(), -1)
            if noise is None:
                drawn = torch.multinomial(probability, 1).squeeze(1)
            else:
                drawn = (probability.cumsum(-1) <= noise[asked][:, None]).sum(-1)
            written = torch.where(asked, labels, input_ids)
            read = input_ids.masked_scatter(asked, drawn)
        marks = self.discriminator(input_ids=read, attention_mask=attention_mask).logits
        plain = attention_mask.bool() & (written >= len(material.SPECIALS))
        losses = F.binary_cross_entropy_with_logits(marks.float(), (read != written).float(), reduction="none")
        return Answer(masked.loss + self.detection * (losses * plain).sum() / plain.sum())


@torch.no_grad()
def peer_loss(joint: Joint, batches: Sequence[Batch]) -> float:
    """Their loss on what we prepared, padded, with our numbers to draw by, without dropout: of one micro-batch, for a
    mean of means would be another number.
    """
    joint.eval()
    (batch,) = batches
    packed, mlm = batch.inputs.packed, batch.labels[0]
    labels, noise = torch.full_like(packed.tokens, -100), torch.zeros(len(packed.tokens))
    labels[mlm.rows] = mlm.values
    noise[mlm.rows] = mlm.noise
    given: Mapping[str, Tensor] = {
        "input_ids": packed.pad(packed.tokens),
        "attention_mask": packed.pad(torch.ones_like(packed.tokens)),
        "labels": packed.pad(labels, -100),
        "noise": packed.pad(noise),
    }
    return float(joint(**given).loss)
