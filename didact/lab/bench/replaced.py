"""The step of replaced-token detection: generator and model of BERT-mini's size, sequences of 16 to 128 tokens.

The peer is what one writes around transformers' two models, which has neither the sampler nor the joint step: its
collator masks, its generator answers at every row, a categorical draw fills what was masked, its discriminator reads;
tables are shared by handing over the module. Both sides collate, mask, run forward and backward, clip and apply fused
AdamW, from equal weights, on the same sequences, with the same dropout.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Batch
from didact.config import ModelConfig
from didact.families import ELECTRA
from didact.lab.bench import machine, material, ours, peer
from didact.lab.bench.measure import Benchmark, Case, Outcome, Work, both_sides, equal_start, take_turns
from didact.lab.bench.peer import Recipe
from didact.lab.bench.step import collator_of, peer_work
from didact.model import Model, Pretrained, beside
from didact.objectives import Replaced
from didact.runs.common import exporter
from didact.training.flops import matmul_peak, step_flops
from didact.training.policy import DTYPES

MINI = replace(ELECTRA.base, layers=4, width=256, heads=4, feedforward=1024)


@dataclass(frozen=True)
class Detection(Benchmark):
    """sequences, longest: of a step; steps: of a round; dropout: of hidden states (of attention it is 0); precisions:
    None = those the processor has units for.
    """

    name: ClassVar[str] = "rtd"

    config: ModelConfig = MINI
    sequences: int = 32
    longest: int = 128
    steps: int = 2
    dropout: float = 0.1
    compiled: bool = True
    precisions: tuple[str, ...] | None = None
    peak_sizes: tuple[int, ...] = (1024, 2048, 4096)

    def small(self) -> Detection:
        tiny = replace(self.config, vocabulary=200, layers=2, width=16, heads=2, feedforward=32, embedding_width=8)
        sizes = replace(self, config=tiny, sequences=4, longest=16, steps=1, peak_sizes=(64,))
        return replace(sizes, compiled=False, precisions=("fp32",))

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for precision in self.precisions or machine.precisions():
            with tempfile.TemporaryDirectory() as folder:
                yield self._outcome(Recipe(precision), repeats, Path(folder))
            torch.compiler.reset()

    def _outcome(self, recipe: Recipe, repeats: int, folder: Path) -> Outcome:
        config = ours.with_dropout(self.config, self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        assert tokenizer.mask is not None
        objective = Replaced(tokenizer.mask, config.vocabulary, tokenizer.special_ids)
        lengths = material.lengths("mixed", self.sequences * self.steps, seed=1, longest=self.longest)
        examples = material.made_up(lengths, config.vocabulary, seed=2)
        stream = ours.stream(examples, objective, self.sequences, self.sequences * self.longest)
        drawn = torch.Generator().manual_seed(0)
        models = beside(Model(config, objective.heads, drawn), objective, drawn)
        exporter(lambda: Pretrained(models["main"], tokenizer, ELECTRA.name))(folder, models)
        groups = [ours.members(stream, step) for step in range(self.steps)]
        collator = collator_of(folder, mask_replace_prob=objective.mask, random_replace_prob=0.0)

        def theirs(compiled: bool) -> Work:
            step = peer.trainer(Joint(folder, objective.detection), recipe, compiled, dynamic=True)
            return peer_work(step, collator, groups)

        batches = [stream[step] for step in range(self.steps)]
        started = equal_start(
            ours.mean_loss(models, objective, batches[0]), peer_loss(Joint(folder, objective.detection), batches[0])
        )
        flops = sum(step_flops(models, of_step) for of_step in batches)
        contenders = both_sides(
            lambda: ours.trainer(models, objective, stream, recipe, self.steps, self.compiled), theirs, self.compiled
        )
        small = models["generator"].config
        settings = {
            "model": f"ELECTRA {config.layers} x {config.width}, {config.vocabulary} pieces",
            "generator": f"{small.layers} x {small.width}, embeddings of {small.embedding_width} shared",
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
        case = Case(self.name, f"mixed lengths, {recipe.precision}", "real tokens", tuple(contenders), settings)
        done = take_turns(case, repeats)
        peak = matmul_peak(torch.device("cpu"), DTYPES[recipe.precision], self.peak_sizes)
        reached = flops / done.timings["didact"].time.median
        note = f"didact reaches {reached / 1e9:.1f} GFLOP/s, {reached / peak:.1%} of the {recipe.precision} matmul peak"
        return replace(done, notes=(*done.notes, note), facts={"share_of_peak": reached / peak, "peak": peak})


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
