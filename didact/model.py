"""The model: one core, a mix of its layers where there is one, a decoder that reads it where there is one, BERT's
pooler, and named heads that answer for the rows they are asked; and a `Pretrained` one with its tokenizer, which is
what `didact.load` gives.

Shapes: T tokens, n asked rows or texts, g groups, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from didact.batch import Batch, Example, Labels, Part, Side
from didact.config import ModelConfig
from didact.data.lay import lay
from didact.errors import InputError
from didact.heads import EmbeddingHead, Head, HeadLayers, Vocabulary
from didact.heads.embedding import Pooling
from didact.heads.groups import mean_within
from didact.nn.core import Hidden, Stack
from didact.nn.cores import build as build_core
from didact.nn.decoder import build as build_decoder
from didact.nn.dropout import Dropout
from didact.nn.feedforward import ACTIVATIONS
from didact.nn.init import initialise
from didact.nn.mix import LayerMix
from didact.nn.norm import build_norm
from didact.nn.shared import begin_alike, share
from didact.objectives.base import Objective, answers
from didact.tasks.answering import Write, batches
from didact.tasks.answering import predict as predict_with
from didact.tasks.base import Counts, Prediction, Task
from didact.tasks.columns import Source
from didact.tokenization.tokenizer import Tokenizer, frame


class Model(nn.Module):
    """config: of the core; specs: what is asked of it, by name.

    Parameters are named `core.*`, `decoder.*`, `mix.*`, `pooler.dense.*` and `heads.<name>.*`. A tied vocabulary head
    has no output matrix of its own: it is handed `core.embedding.word.weight` when it runs, and so is a decoder: this
    is one parameter with one name. Weights are drawn with `generator` (None: torch's own), the core's first, then the
    decoder's, whatever the heads.
    """

    def __init__(
        self, config: ModelConfig, heads: Mapping[str, Head], generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if missing := [name for name, head in heads.items() if head.pools(config) and not config.pooler]:
            raise ValueError(f"heads {missing} read pooled rows, and the configuration has no pooler")
        self.config = config
        self.specs = dict(heads)
        self.core = build_core(config, generator)
        self.decoder = None if config.decoder is None else build_decoder(config, generator)
        self.mix = LayerMix(config.layers + 1, config.mix.norm) if config.mix.layers == "all" else None
        self.pooler = Pooler(config) if config.pooler else None
        self.heads = nn.ModuleDict({name: head.build(config) for name, head in heads.items()})
        for part in (self.mix, self.pooler, *self.heads.values()):
            if part is not None:
                initialise(part, config.init_std, generator)

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        """The logits of each of the batch's labels, in order: of what the decoder makes of `outputs`, or of what the
        core makes of `inputs`.
        """
        return answers(self, batch)

    def answer(self, hidden: Hidden, asked: Labels) -> Tensor:
        """What the head that `asked` names says of the rows it asks."""
        return self.heads[asked.head](*self._read(hidden, asked), self.core.embedding.table)

    def _read(self, hidden: Hidden, asked: Labels) -> tuple[Tensor, Tensor | None]:
        """What the head reads: the rows asked, pooled where it pools, and the borders of those answered as one."""
        spec, groups = self.specs[asked.head], asked.groups
        rows = hidden.streams[asked.stream].index_select(0, asked.rows)
        if spec.pools(self.config):
            assert self.pooler is not None
            if groups is not None and spec.grouped == "either":  # the pooler reads the mean row, not each row
                rows, groups = mean_within(rows, groups), None
            rows = self.pooler(rows)
        return rows, groups

    def loss(self, logits: Tensor, asked: Labels) -> Part:
        """The sum of the losses of these answers, as the head that gave them counts it."""
        return self._mixed(self.specs[asked.head].loss(logits, asked))

    def loss_at(self, hidden: Hidden, asked: Labels) -> Part:
        """`loss` of what `answer` says, which a head may have without saying it."""
        layers = cast(HeadLayers, self.heads[asked.head])
        rows, groups = self._read(hidden, asked)
        return self._mixed(self.specs[asked.head].loss_at(layers, rows, groups, self.core.embedding.table, asked))

    def _mixed(self, found: Part) -> Part:
        """With what keeps the mix of layers even, in training."""
        strength = self.config.mix.toward_equal
        if self.mix is None or not strength or not self.training:
            return found
        # Times the count, because the sum is divided by it: over any micro-batches and ranks it is added once.
        return replace(found, total=found.total + strength * found.count * self.mix.s.square().sum())

    def hidden(self, side: Side, layers: bool = False) -> Hidden:
        """The core's streams, (T, D), "main" a mix of the layers where there is one; and with `layers` the embedding
        output and every layer's.
        """
        hidden = self.core(side, layers or self.mix is not None)
        if self.mix is None:
            return hidden
        mixed = replace(hidden, streams={**hidden.streams, "main": self.mix(hidden.layers)})
        return mixed if layers else replace(mixed, layers=())

    def decoded(
        self,
        outputs: Side,
        encoded: Hidden,
        inputs: Side,
        layers: bool = False,
        attention: Collection[int] = (),
        cross: Collection[int] = (),
    ) -> Hidden:
        """What the decoder makes of `outputs`, (T, D), reading what the core made of `inputs`: sequence b of the one
        looks at sequence b of the other. layers, attention, cross: as `nn.decoder.Decoder` has them. ValueError where
        there is no decoder.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder (model.decoder is null), and the batch has outputs")
        word, source = self.core.embedding.word, inputs.packed
        return self.decoder(outputs, word, encoded.main, source, layers, attention, cross)

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The core and, where there is one, the decoder."""
        return (self.core,) if self.decoder is None else (self.core, self.decoder)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device


def beside(
    main: Model,
    objective: Objective,
    generator: torch.Generator | None = None,
    given: Mapping[str, Model] | None = None,
) -> dict[str, Model]:
    """ "main" and the models that the objective wants beside it, as a `Step` takes them: those that are `given`, others
    drawn with `generator`; input tables are shared as it says.

    Raises InputError where a companion does not go with the main model.
    """
    models = {"main": main}
    known = given or {}
    try:
        for name, wanted in objective.companions(main.config).items():
            models[name] = known[name] if name in known else Model(wanted.config, wanted.heads, generator)
            own = models[name].core.embedding
            if name not in known and wanted.sharing == "difference":
                begin_alike(main.core.embedding, own)
            share(main.core.embedding, own, wanted.sharing)
    except ValueError as problem:
        raise InputError(f"objective {objective.kind}: {problem}") from None
    return models


def _parts(objective: object, kind: str) -> Iterator[Mapping[str, Any]]:
    """An objective, as JSON, and its parts, as far as they are of this kind."""
    if isinstance(objective, Mapping):
        if objective.get("kind") == kind:
            yield objective
        objective = list(objective.values())
    if isinstance(objective, list | tuple):
        for part in objective:
            yield from _parts(part, kind)


def check_fills(pretrained: Pretrained) -> None:
    """Raises InputError for a model that was not trained to say what stands at a row that it reads."""
    config = pretrained.model.config
    if config.visibility == "causal":
        raise InputError("a causal model sees nothing after a blank", expected="a model trained to fill blanks")
    if config.decoder is not None:
        raise InputError("a model with a decoder writes the whole text anew", expected="a model trained to fill blanks")
    if config.queries and not pretrained.learned("masked"):
        raise InputError(
            "a model with query rows (XLNet) was asked at those alone, never at a blank",
            expected="a model trained to fill blanks",
        )


class Pooler(nn.Module):
    """What `config.summary` says of a row: (n, D) -> (n, D), before every head that answers for a whole sequence
    (BERT's [CLS]: dense and tanh).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        summary, norms = config.summary, config.norms
        self.dropout = Dropout(config.dropout if summary.dropout else 0.0)
        self.dense = nn.Linear(config.width, config.width, summary.biases) if summary.dense else None
        self.activation = ACTIVATIONS[summary.activation]
        self.norm = build_norm("layer" if summary.norm else None, config.width, norms.eps, norms.bias)

    def forward(self, rows: Tensor) -> Tensor:
        rows = self.dropout(rows)
        return rows if self.dense is None else self.norm(self.activation(self.dense(rows)))


@dataclass(frozen=True)
class Filled:
    """A candidate for a blank: the piece, and the probability that the model gives it there."""

    token: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What was written after a prompt: text; tokens: the new ones, the one that ended it included; score: of a search
    what hypotheses are ranked by, else the log-likelihood of the tokens.
    """

    text: str
    tokens: tuple[int, ...]
    score: float


class Writer(Protocol):
    """What makes a model write (`didact.generation`, which stands above this room and is handed in)."""

    def generate(self, pretrained: Pretrained, prompts: Sequence[str], **settings: Any) -> list[list[Answer]]: ...

    def generate_tokens(
        self, pretrained: Pretrained, prompts: Sequence[Sequence[int]], **settings: Any
    ) -> list[list[Answer]]: ...

    def stream(self, pretrained: Pretrained, prompt: str, **settings: Any) -> Iterator[str]: ...


@dataclass(frozen=True)
class Pretrained:
    """A model with its tokenizer and what is known of it.

    family: the name of its table of names; task: what it was fine-tuned for; objective: what it was trained with, as
    JSON; carried: its config.json as it was read; fresh: parameters that the file did not hold and were drawn anew;
    unused: tensors of the file that belong to heads nobody asked for; companions: the models that were trained beside
    it, by name (ELECTRA's generator), which lie in folders of these names inside its own; writer: what makes it write,
    which `didact.load` hands in.
    """

    model: Model
    tokenizer: Tokenizer
    family: str = "bert"
    task: Task | None = None
    objective: Mapping[str, Any] | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    companions: Mapping[str, Pretrained] = field(default_factory=dict)
    writer: Writer | None = None

    @property
    def maximum(self) -> int | None:
        """Tokens of the longest input, special ones included; None where positions set no bound."""
        return self.model.config.position.maximum

    @property
    def prefixed(self) -> bool:
        """Whether a model that looks back was trained to see a text's beginning whole (`prefix_lm`, alone or among
        others), so that a prompt is to be read so. One that was fine-tuned reads as its task trained it.
        """
        return self.model.config.visibility == "causal" and bool(self.learned("prefix_lm"))

    def learned(self, kind: str) -> list[Mapping[str, Any]]:
        """Objectives of this kind that it was trained with, alone or among others, as JSON. None of a model that was
        fine-tuned, which is asked as its task was.
        """
        return [] if self.task is not None else list(_parts(self.objective, kind))

    @torch.inference_mode()
    def embed(
        self, texts: Sequence[str], pooling: Pooling | None = None, batch_tokens: int = 4096
    ) -> NDArray[np.float32]:
        """One vector a text, (n, D) float32, in the order of the texts.

        pooling: "mean" over a text's rows, special ones included, "cls" (the first), "last" or "max"; None: as the
        model's own embedding head says, else the mean. A text longer than the model takes is cut at its end.
        batch_tokens: tokens of one forward pass; texts of similar length share one. Raises InputError for the first row
        of a causal model, which has seen nothing of the text.
        """
        if not len(texts):
            return np.empty((0, self.model.config.width), np.float32)
        own = next((head for head in self.model.specs.values() if isinstance(head, EmbeddingHead)), EmbeddingHead())
        head = own if pooling is None else EmbeddingHead(pooling, maximum=own.maximum)
        if head.pooling == "cls" and self.model.config.visibility == "causal":
            raise InputError("the first row of a causal model sees only itself", expected="pooling mean, last or max")
        most = min((m for m in (head.maximum, self.maximum) if m is not None), default=None)
        layers = head.build(self.model.config)
        sequences = lay([frame(self.tokenizer, e, max_length=most) for e in self.tokenizer.encode_many(texts)])
        out = np.empty((len(texts), self.model.config.width), np.float32)
        self.model.eval()
        for some in batches(sequences.lengths, batch_tokens):
            side = sequences.batch(some).inputs.to(self.model.device)
            out[some] = layers(self.model.hidden(side).main, side.packed.cu_seqlens).float().cpu().numpy()
        return out

    @torch.inference_mode()
    def fill(self, text: str, top: int = 5) -> list[list[Filled]]:
        """The `top` likeliest tokens for each mask token written in `text`, likeliest first.

        A model without a vocabulary head leaves it to the companion that has one: ELECTRA's generator.
        Raises InputError where there is none, the model fills no blanks, or the text has no mask token.
        """
        check_fills(self)
        heads = self.model.specs.items()
        name = next((name for name, head in heads if isinstance(head, Vocabulary) and head.stream == "main"), None)
        if name is None:
            for companion in self.companions.values():
                if any(isinstance(head, Vocabulary) for head in companion.model.specs.values()):
                    return companion.fill(text, top)
            raise InputError("this model has no vocabulary head", expected="a model pre-trained to fill blanks")
        encoded = self.tokenizer.encode(text, special=True)
        example = frame(self.tokenizer, encoded, max_length=self.maximum)
        mask = self.tokenizer.mask
        blanks = np.flatnonzero(example.tokens == mask) if mask is not None else np.zeros(0, np.int64)
        if mask is not None and len(blanks) < int((encoded.tokens == mask).sum()):
            raise InputError(
                f"a blank beyond the {self.maximum} tokens that the model takes",
                expected="a shorter text",
            )
        if mask is None or not len(blanks):
            written = "none" if mask is None else self.tokenizer.token(mask)
            raise InputError("no blank in the text", expected=f"the tokenizer's mask token, {written}")
        self.model.eval()
        side = lay([example]).batch([0]).inputs.to(self.model.device)
        rows = torch.from_numpy(blanks).to(self.model.device)
        logits = self.model.answer(self.model.hidden(side), Labels(name, rows, rows))
        best = torch.softmax(logits.float(), -1).topk(min(top, logits.shape[-1]))
        return [
            [Filled(self.tokenizer.token(i), p) for i, p in zip(ids, ps, strict=True)]
            for ids, ps in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[list[Answer]]:
        """What the model writes after each prompt, several answers where `answers` says so, best first.

        settings: fields of `didact.generation.Decoding` (beams=4, maximum=32, sample=True, …), or `decoding`, one of
        them whole; and `special`: names of special tokens in the prompts ("<mask>", "<extra_id_0>") stand for these
        tokens, and sentinels stay in the answers. Raises InputError as `didact.generation.generate`.
        """
        return self._writer.generate(self, prompts, **settings)

    def stream(self, prompt: str, **settings: Any) -> Iterator[str]:
        """What it writes after one prompt, piece by piece; see `generate`."""
        return self._writer.stream(self, prompt, **settings)

    @property
    def _writer(self) -> Writer:
        if self.writer is None:
            raise ValueError(
                "this model was made without a writer: `didact.load` hands one in (didact.generation.WRITER)"
            )
        return self.writer

    def predict(
        self, records: Source, write: Write | None = None, *, number: int = 0, counts: Counts | None = None
    ) -> list[Prediction]:
        """One prediction a record, JSON-able, in order. records: mappings with the fields of the model's task
        (`{"text": …}`), or a file of such. write: what writes the answers of a task whose answers are texts,
        None = the model itself, by the task's own settings; number: of the first record, which drawn texts depend on;
        counts: where what is cut is counted.

        Raises InputError where the model was fine-tuned for no task, or a record lacks a field.
        """
        if self.task is None:
            raise InputError("this model was fine-tuned for no task", expected="a checkpoint of `didact finetune`")
        write = self.write(self.task, number) if write is None and self.task.written else write
        return predict_with(self.model, self.task, self.tokenizer, records, write=write, counts=counts)

    def write(self, task: Task, number: int = 0) -> Write:
        """What writes the answers of a task whose answers are texts: the best one after each prompt. number: of the
        first one.
        """

        def written(prompts: Sequence[Example]) -> list[str]:
            tokens = [example.tokens.tolist() for example in prompts]
            found = self._writer.generate_tokens(self, tokens, number=number, **task.writing)
            return [answers[0].text for answers in found]

        return written
