"""Replaced-token detection (Clark et al., 2020, ELECTRA, §2): a small generator fills blanks, the model says which
tokens are no longer what was written.

Shapes: N tokens of a step, R chosen ones of a pack, n asked rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from didact.batch import Batch, Example, Labels, Loss, Prepared
from didact.bounds import check_counts, check_positive
from didact.config import ModelConfig
from didact.data.flat import Asked, Flat
from didact.heads import Head, Replacement, Vocabulary
from didact.heads.cross_entropy import cached
from didact.nn.shared import Sharing
from didact.objectives.base import Answering, Companion, Keys, Objective, alone
from didact.objectives.masked import Masked, Rate
from didact.objectives.select import Select, Tokens
from didact.randomness import words
from didact.tokenization.tokenizer import Tokenizer

GENERATOR = "generator"
OWN = ("generator_width", "generator_layers", "generator_heads", "generator_feedforward")
_SAMPLE = np.uint64(0x5A3B)  # what a draw is for, mixed into its key


@dataclass(frozen=True)
class Replaced(Objective):
    """Hidden: a share of the tokens, see `select`, from the generator; from the model, which reads what the generator
    has drawn for each, the same. Asked: what stood there, of the generator; of the model, at every token that is not a
    special one, whether it is another than was written.

    A drawn token that happens to be the original counts as original. Used by ELECTRA and DeBERTa-v3. With `control` it
    is masked words asked of the model itself, which is how ELECTRA's code trains the BERT that it compares with.

    mask_id, vocabulary (its size), specials: token ids, known when the objective is built for a tokenizer.
    rate: the share of a sequence's non-special tokens that is chosen, or points (step, rate), as for masked words.
    mask: the share of the chosen that the generator reads as [MASK]; it reads the rest as written, and draws for them
    all the same (ELECTRA's code; its paper, §2, and DeBERTa-v3 mask all of them). select: which tokens.
    detection: the weight of the model's loss against the generator's. temperature: of drawing; logits are divided
    by it. sharing: of input tables: "all", "difference" (gradient-disentangled) or "none".
    generator_size: its width, feed-forward and number of heads as shares of the model's; generator_depth: its layers
    as a share of the model's; generator_width, generator_layers, generator_heads, generator_feedforward: these
    themselves, null = by the shares.
    control: no generator, no detection.
    """

    kind: ClassVar[str] = "replaced"
    mask_id: int
    vocabulary: int
    specials: tuple[int, ...]
    rate: Rate = 0.15
    mask: float = 0.85
    select: Select = field(default_factory=Tokens)
    detection: float = 50.0
    temperature: float = 1.0
    sharing: Sharing = "all"
    generator_size: float = 0.25
    generator_depth: float = 1.0
    generator_width: int | None = None
    generator_layers: int | None = None
    generator_heads: int | None = None
    generator_feedforward: int | None = None
    control: bool = False

    def __post_init__(self) -> None:
        _ = self._masked
        check_positive(detection=self.detection, temperature=self.temperature)
        check_counts(**{name: getattr(self, name) for name in OWN})
        for name, share in (("generator_size", self.generator_size), ("generator_depth", self.generator_depth)):
            if not 0.0 < share <= 1.0:
                raise ValueError(f"{name} {share}: a share of the model is above 0 and at most 1")

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary()} if self.control else {"replaced": Replacement()}

    @property
    def names(self) -> tuple[str, ...]:
        return ("mlm",) if self.control else ("mlm", "rtd")

    @classmethod
    def answered_by(cls, settings: Mapping[str, Any]) -> Mapping[str, str]:
        return {} if settings.get("control") else {"mlm": GENERATOR}

    @property
    def rated(self) -> tuple[str, ...]:
        return self.names

    @property
    def comparable(self) -> bool:
        """A better generator asks harder questions."""
        return self.control

    @property
    def alone(self) -> bool:
        return not self.control

    def companions(self, main: ModelConfig) -> Mapping[str, Companion]:
        if self.control:
            return {}
        return {GENERATOR: Companion(self._generator(main), {"vocabulary": Vocabulary()}, self.sharing)}

    def at(self, step: int) -> Replaced:
        """Its rate at this step, a number."""
        return self if isinstance(self.rate, float | int) else replace(self, rate=self._masked.at(step).rate)

    def at_rate(self, rate: float) -> Replaced:
        return replace(self, rate=rate)

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        """Masked words, each with the number its replacement is drawn by; and every token with what was written."""
        masked = self._masked.ask(replace(flat, labels=()), keys)
        if self.control:
            return flat.then(masked)
        (chosen,) = masked.labels
        sequences = np.repeat(np.arange(len(flat)), np.diff(chosen.cuts))
        bits = words(keys[sequences] ^ _SAMPLE, chosen.labels.rows) >> np.uint64(40)
        noise = bits.astype(np.float32) * np.float32(2.0**-24)  # no bit more: float32 must not round it up to 1
        special = flat.column("special")
        rows = np.arange(len(flat.tokens)) if special is None else np.flatnonzero(~special)
        cuts = rows.searchsorted(flat.cuts)
        written = Labels(
            "replaced",
            rows=rows - flat.cuts[:-1].repeat(np.diff(cuts)),
            values=flat.tokens[rows].astype(np.int64),
            name="rtd",
        )
        mlm = replace(chosen, labels=replace(chosen.labels, noise=noise))
        return flat.then(replace(masked, labels=(mlm, Asked(written, cuts=cuts))))

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        if self.control:
            return super().loss(models, batch)
        mlm, rtd, blanks, marks = self._run(models, batch)
        found = models["main"].loss(marks, rtd)
        return Loss({mlm.name: models[GENERATOR].loss(blanks, mlm), rtd.name: replace(found, weight=self.detection)})

    def answers(self, models: Mapping[str, Answering], batch: Batch) -> tuple[Tensor, ...]:
        """The generator's logits (R, V) and the model's (n,)."""
        if self.control:
            return super().answers(models, batch)
        _, _, blanks, marks = self._run(models, batch)
        return blanks, marks

    def _run(self, models: Mapping[str, Answering], batch: Batch) -> tuple[Labels, Labels, Tensor, Tensor]:
        """Both models' questions and answers; the model's question with its right answers, which are known now."""
        mlm, written = batch.labels
        (blanks,) = models[GENERATOR](replace(batch, labels=(mlm,)))
        tokens = batch.inputs.packed.tokens.index_copy(0, mlm.rows, draw(blanks, mlm.noise, self.temperature))
        rtd = replace(written, values=(tokens[written.rows] != written.values).long())
        packed = replace(batch.inputs.packed, tokens=tokens)
        read = replace(batch, inputs=replace(batch.inputs, packed=packed), labels=(rtd,))
        with parametrize.cached():  # tables that are sums are added up once
            (marks,) = models["main"](read)
        return mlm, rtd, blanks, marks

    @cached_property
    def _masked(self) -> Masked:
        return Masked(self.mask_id, self.vocabulary, self.specials, self.rate, self.mask, 0.0, self.select)

    def _generator(self, main: ModelConfig) -> ModelConfig:
        """The main model's configuration, made smaller (§3.2: widths and heads; He et al., 2023, §3.1: layers)."""
        heads = self.generator_heads or max(1, round(main.heads * self.generator_size))
        width = self.generator_width or heads * max(1, round(main.width * self.generator_size / heads))
        layers = self.generator_layers or max(1, round(main.layers * self.generator_depth))
        if main.windows is not None and layers > main.layers:
            raise ValueError(f"a generator of {layers} layers for a model whose windows are those of {main.layers}")
        return replace(
            main,
            width=width,
            heads=heads,
            head_width=None,
            layers=layers,
            feedforward=self.generator_feedforward or max(1, round(main.feedforward * self.generator_size)),
            embedding_width=main.embedding_width if width == main.width else main.word_width,
            layer_groups=None if main.layer_groups is None else min(main.layer_groups, layers),
            windows=None if main.windows is None else main.windows[:layers],
            position=replace(main.position, start="normal"),
            pooler=False,
        )


@torch.no_grad()
def draw(logits: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
    """One token a row, each with its probability: the first whose cumulated probability exceeds the row's noise.

    logits (R, V), noise (R,) in [0, 1) -> (R,) int64. A pure function of both, so that a step repeats.
    """
    rows, vocabulary = logits.shape
    drawn = torch.empty(rows, dtype=torch.int64, device=logits.device)
    for some in cached(logits):
        until = torch.softmax(logits[some].float() / temperature, -1).cumsum(-1)
        limit = noise[some, None].to(until.dtype) * until[:, -1:]
        drawn[some] = torch.searchsorted(until, limit, right=True).squeeze(1)
    return drawn.clamp_(max=vocabulary - 1)
