"""The denoising step of BART: sentences permuted and spans infilled, an encoder and a decoder of BERT-mini's size each,
32 texts of 16 to 128 tokens, or of 128 each.

The decoder is asked for every token of a text. transformers has no collator for BART: `Infilling` here is a plain one
in numpy, which pads, and which hides as much as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from didact.batch import Batch, Example
from didact.config import Decoder, ModelConfig
from didact.families import BART
from didact.lab.bench import material, ours, peer
from didact.lab.bench.measure import Work, equal_start
from didact.lab.bench.peer import Recipe
from didact.lab.bench.sides import MINI, SIZES, Sides, StepBenchmark, peer_work
from didact.objectives import Denoised

PAD, START, MASK = (material.SPECIALS.index(name) for name in ("[PAD]", "[SEP]", "[MASK]"))
BART_MINI = replace(BART.base, **{name: getattr(MINI, name) for name in SIZES}, decoder=Decoder(start=START))
_SENTENCE = 16  # tokens


@dataclass(frozen=True)
class DenoisingStep(StepBenchmark):
    """config: of the encoder, and of the decoder but for what that says itself. Tokens are those of the texts, whatever
    corruption leaves of them for the encoder.
    """

    name: ClassVar[str] = "denoise"

    config: ModelConfig = BART_MINI
    kinds: tuple[str, ...] = ("mixed", "full")

    def sides(self, kind: str, folder: Path) -> Sides:
        config = ours.with_dropout(self.config, self.dropout)
        tokenizer = material.made_up_tokenizer(config.vocabulary)
        objective = Denoised(MASK, config.vocabulary, tokenizer.special_ids, START)
        lengths = self.lengths(kind)
        examples = [
            replace(e, sentences=np.arange(1, max(2, len(e) - 1), _SENTENCE))
            for e in material.made_up(lengths, config.vocabulary, seed=2)
        ]
        stream = ours.stream(examples, objective, self.sequences, 2 * self.sequences * self.longest)
        model = ours.made(config, objective.heads, tokenizer, folder, BART.name).model
        groups = [ours.members(stream, step) for step in range(self.steps)]

        def opened() -> Any:
            return peer.open_model("BartForConditionalGeneration", folder, pad_token_id=PAD, use_cache=False)

        def theirs(compiled: bool, recipe: Recipe) -> Work:
            step = peer.trainer(opened(), recipe, compiled, dynamic=kind == "mixed")
            return peer_work(step, Infilling(np.random.default_rng(3)), groups, recipe, rows=lambda group: group)

        started = equal_start(ours.mean_loss(model, objective, stream[0]), peer_loss(opened(), stream[0]))
        name = f"BART {config.layers} + {config.decoding.layers} x {config.width}, {config.vocabulary} pieces"
        read = sum(len(b.inputs.packed.tokens) for step in range(self.steps) for b in stream[step]) // self.steps
        return Sides(name, {"main": model}, objective, stream, theirs, sum(lengths), started, {"read": read})


@dataclass(frozen=True)
class Infilling:
    """Examples -> a padded batch for `BartForConditionalGeneration`: sentences in a random order, then spans of Poisson
    length (mean: λ), `rate` of the tokens in all, one mask each.
    """

    rng: np.random.Generator
    rate: float = 0.3
    mean: float = 3.0

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        read = [self._corrupted(example) for example in examples]
        return {
            "input_ids": _padded(read, PAD),
            "attention_mask": _padded([np.ones(len(tokens), np.int64) for tokens in read], 0),
            "labels": _padded([example.tokens for example in examples], -100),
        }

    def _corrupted(self, example: Example) -> np.ndarray:
        assert example.sentences is not None
        begin, *sentences = np.split(example.tokens[:-1], example.sentences)
        text = np.concatenate([sentences[i] for i in self.rng.permutation(len(sentences))])
        budget = round(self.rate * len(text))
        lengths = self.rng.poisson(self.mean, budget + 1)
        until = int(np.searchsorted(lengths.cumsum(), budget)) + 1
        lengths[until - 1] -= lengths[:until].sum() - budget
        kept = len(text) - budget
        before = np.sort(self.rng.choice(kept + 1, min(until, kept + 1), replace=False))
        written, at, passed = [begin], 0, 0
        for length, upto in zip(lengths.tolist(), before.tolist(), strict=False):
            written += [text[at : at + upto - passed], np.array([MASK])]
            at, passed = at + upto - passed + length, upto
        return np.concatenate([*written, text[at:], example.tokens[-1:]])


def _padded(rows: Sequence[np.ndarray], fill: int) -> torch.Tensor:
    out = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(out)


@torch.no_grad()
def peer_loss(model: Any, batches: Sequence[Batch]) -> float:
    """transformers' loss on what we prepared, both sides padded and with -100 for padding, without dropout."""
    model.eval()
    total = count = 0.0
    for batch in batches:
        assert batch.outputs is not None
        source, target, (asked,) = batch.inputs.packed, batch.outputs.packed, batch.labels
        labels = torch.full_like(target.tokens, -100)
        labels[asked.rows] = asked.values
        loss = model(
            input_ids=source.pad(source.tokens),
            attention_mask=source.pad(torch.ones_like(source.tokens)),
            decoder_input_ids=target.pad(target.tokens),
            labels=target.pad(labels, -100),
        ).loss
        total, count = total + float(loss) * asked.count, count + asked.count
    return total / count
