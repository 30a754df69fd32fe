"""Sentence vectors of real texts of mixed lengths, from text to numpy: MiniLM, mean pooling, tokenizing included."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from didact.heads import EmbeddingHead
from didact.hub import export, load
from didact.lab.bench import machine, material, ours, peer
from didact.lab.bench.finetune import MINILM
from didact.lab.bench.measure import Benchmark, Case, Contender, Outcome, Work, take_turns
from didact.model import Model, Pretrained
from didact.training import policy


@dataclass(frozen=True)
class Inference(Benchmark):
    """texts, model: as in `Finetuning`; count: texts of a round; batch: texts of one of their forward passes; longest:
    tokens of a text, what is longer is cut on both sides; emulated: as in `TrainingStep`.
    """

    name: ClassVar[str] = "inference"

    texts: Path | None = None
    model: Path | None = None
    count: int = 1000
    batch: int = 32
    longest: int = 256
    precisions: tuple[str, ...] | None = None
    emulated: bool = True

    def small(self) -> Inference:
        return replace(self, count=20, batch=4, precisions=("fp32",), emulated=False)

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        texts = material.texts(self.texts, self.count)
        with tempfile.TemporaryDirectory() as folder:
            start = self._start()
            export(start, folder)
            for precision in self.precisions or machine.precisions():
                yield self._outcome(precision, start, texts, Path(folder), repeats)

    def _start(self) -> Pretrained:
        heads = {"embedding": EmbeddingHead("mean", maximum=self.longest)}
        folder = self.model or material.minilm()
        if folder is not None:
            return load(folder, heads)
        return Pretrained(
            Model(MINILM, heads, torch.Generator().manual_seed(0)), material.made_up_tokenizer(MINILM.vocabulary)
        )

    def _outcome(self, precision: str, start: Pretrained, texts: Sequence[str], folder: Path, repeats: int) -> Outcome:
        vectors: dict[str, Any] = {}

        def mine() -> Work:
            def work(turn: int) -> float:  # noqa: ARG001
                with policy.plan("cpu", precision).autocast():
                    vectors["didact"] = start.embed(texts)
                return len(texts)

            return work

        def theirs(name: str, ordered: bool, in_precision: str) -> Work:
            model, tokenizer = peer.open_model("BertModel", folder).eval(), peer.open_tokenizer(folder)

            def work(turn: int) -> float:  # noqa: ARG001
                with peer.autocast(in_precision):
                    vectors[name] = embed(model, tokenizer, texts, self.batch, self.longest, ordered)
                return len(texts)

            return work

        ordered, default = f"transformers, sorted by length, {precision}", "transformers, default (unsorted, fp32)"
        contenders = [
            Contender("didact", mine),
            Contender(ordered, lambda: theirs(ordered, True, precision)),
            Contender(default, lambda: theirs(default, False, "fp32")),
        ]
        if self.emulated and not machine.has_bf16():
            slow = "transformers, sorted by length, bf16 (emulated)"
            contenders.append(Contender(slow, lambda: theirs(slow, True, "bf16")))
        sizes = ours.sizes(start.tokenizer, texts, self.longest)
        settings = {
            "model": f"BERT {start.model.config.layers} x {start.model.config.width}",
            "texts": len(texts),
            "tokens_a_text": round(float(np.mean(sizes)), 1),
            "longest_text": max(sizes),
            "precision": precision,
            "batch": self.batch,
        }
        case = Case(self.name, f"sentence vectors, {precision}", "texts", tuple(contenders), settings)
        done = take_turns(case, repeats)
        apart = float(np.abs(vectors["didact"] - vectors[ordered]).max())
        note = f"largest difference between didact's and transformers' vectors: {apart:.2g}"
        return replace(done, notes=(*done.notes, note), facts={"largest_difference": apart})


@torch.inference_mode()
def embed(model: Any, tokenizer: Any, texts: Sequence[str], batch: int, longest: int, ordered: bool) -> Any:
    """Mean-pooled vectors (n, D) as a plain transformers loop makes them; ordered: texts of similar length together."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i])) if ordered else range(len(texts))
    out = np.empty((len(texts), model.config.hidden_size), np.float32)
    for start in range(0, len(texts), batch):
        some = list(order[start : start + batch])
        coded = tokenizer(
            [texts[i] for i in some], padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        hidden = model(**coded).last_hidden_state.float()
        mask = coded["attention_mask"][:, :, None].float()
        out[some] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    return out
