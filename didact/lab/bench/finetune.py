"""Fine-tuning batches of short texts, as a sentiment epoch has them: MiniLM, 32 texts a step, dynamic padding there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from didact.batch import Batch
from didact.config import ModelConfig
from didact.heads import Classes
from didact.hub import export, load
from didact.lab.bench import machine, material, ours, peer
from didact.lab.bench.measure import Benchmark, Case, Outcome, Work, both_sides, equal_start, take_turns
from didact.lab.bench.peer import Recipe
from didact.model import Pretrained
from didact.tasks import Classify

MINILM = ModelConfig(layers=6, width=384, heads=12, feedforward=1536)
LABELS = ("negative", "positive")


@dataclass(frozen=True)
class Finetuning(Benchmark):
    """texts: a file of them, one a line, None = sentences of the installed packages' documentation; batches: of a
    round; longest: tokens of a text, what is longer is cut; model: the folder of the start, None = MiniLM's where it
    is installed, else random weights of its size. Labels are made up: they cost what true ones cost.
    """

    name: ClassVar[str] = "finetune"

    texts: Path | None = None
    model: Path | None = None
    batch: int = 32
    batches: int = 25
    longest: int = 128
    dropout: float = 0.1
    compiled: bool = True
    precisions: tuple[str, ...] | None = None

    def small(self) -> Finetuning:
        return replace(self, batch=4, batches=2, longest=32, compiled=False, precisions=("fp32",))

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for precision in self.precisions or machine.precisions():
            with tempfile.TemporaryDirectory() as folder:
                yield self._outcome(Recipe(precision, learning_rate=5e-5), repeats, Path(folder))
            torch.compiler.reset()

    def _outcome(self, recipe: Recipe, repeats: int, folder: Path) -> Outcome:
        task = Classify(labels=LABELS, length=self.longest)
        start = opened(self.model, {"classes": Classes(2, names=LABELS)}, self.dropout)
        export(start, folder)
        texts = material.texts(self.texts, self.batch * self.batches)
        rows = [{"text": text, "label": LABELS[i % 2]} for i, text in enumerate(texts)]
        items = task.items(rows)
        objective = task.objective()
        stream = ours.stream(task.dataset(items, start.tokenizer).examples, objective, self.batch, 64 * self.longest)
        groups = [[material.as_features([e])[0] for e in ours.members(stream, s)] for s in range(self.batches)]
        labels = [[int(e.targets["label"]) for e in ours.members(stream, s)] for s in range(self.batches)]
        started = equal_start(
            ours.mean_loss(start.model, objective, stream[0]),
            _loss(peer.open_model("BertForSequenceClassification", folder), stream[0]),
        )
        tokens = sum(len(row["input_ids"]) for group in groups for row in group)

        def theirs(compiled: bool) -> Work:
            model = peer.open_model(
                "BertForSequenceClassification",
                folder,
                hidden_dropout_prob=self.dropout,
                attention_probs_dropout_prob=0.0,
            )
            step = peer.trainer(model, recipe, compiled, dynamic=True)
            pad = peer.open_tokenizer(folder).pad

            def work(turn: int) -> float:  # noqa: ARG001
                for features, right in zip(groups, labels, strict=True):
                    kept = [{k: row[k] for k in ("input_ids", "attention_mask")} for row in features]
                    step({**pad(kept, return_tensors="pt"), "labels": torch.tensor(right)})
                return tokens

            return work

        contenders = both_sides(
            lambda: ours.trainer(start.model, objective, stream, recipe, self.batches, self.compiled),
            theirs,
            self.compiled,
        )
        settings = {
            "model": f"BERT {start.model.config.layers} x {start.model.config.width}",
            "batch": self.batch,
            "batches_a_round": self.batches,
            "tokens_a_text": round(tokens / len(texts), 1),
            "precision": recipe.precision,
            "dropout": self.dropout,
            "attention_dropout": 0.0,
            "clip": recipe.clip,
            "equal_start": started,
        }
        case = Case(self.name, f"classification, {recipe.precision}", "real tokens", tuple(contenders), settings)
        return take_turns(case, repeats)


def opened(folder: Path | None, heads: dict[str, Classes], dropout: float) -> Pretrained:
    """The model of `folder` (MiniLM's where none is given) with these heads; random weights of its size without one."""
    found = folder or material.minilm()
    generator = torch.Generator().manual_seed(0)
    changes: dict[str, Any] = {"dropout": dropout, "attention_dropout": 0.0}
    if found is not None:
        return load(found, heads, changes=changes, generator=generator)
    from didact.model import Model

    config = ours.with_dropout(MINILM, dropout)
    return Pretrained(Model(config, heads, generator), material.made_up_tokenizer(config.vocabulary))


@torch.no_grad()
def _loss(model: Any, batches: Sequence[Batch]) -> float:
    """transformers' loss on what we prepared, padded."""
    model.eval()
    total = count = 0.0
    for batch in batches:
        packed, (asked,) = batch.inputs.packed, batch.labels
        order = torch.searchsorted(packed.cu_seqlens[1:].long(), asked.rows, right=True)
        mask = packed.pad(torch.ones_like(packed.tokens))
        loss = model(input_ids=packed.pad(packed.tokens)[order], attention_mask=mask[order], labels=asked.values).loss
        total, count = total + float(loss) * asked.count, count + asked.count
    return total / count
