"""A text for a text: translation, summarization, questions from answers, phonemes from spelling.

What is scored is written by a decoding function (`tasks.answering.Write`), not read off rows; training and the choice
of checkpoints go by the likelihood of the target's tokens.

Shapes: L tokens of a source, n of a target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from torch import Tensor

from didact.batch import Batch, Example, Labels, Loss, Prepared
from didact.bounds import check_plain
from didact.config import ModelConfig
from didact.data.parallel import parallel, sides
from didact.errors import InputError
from didact.heads import Head, Vocabulary
from didact.objectives.base import Answering
from didact.objectives.guided import Guide
from didact.objectives.scheduled import Decay, TeacherRate
from didact.randomness import generator
from didact.tasks import edits, forms, metrics, overlap, tips
from didact.tasks.base import Counts, Dataset, Item, Prediction, Supervised, Task
from didact.tasks.columns import Columns, Row, Source, rows
from didact.tasks.fitted import fitted
from didact.tasks.forms import Form
from didact.tasks.layout import border_of
from didact.tasks.metrics import Metric
from didact.tasks.rouge import Words, rouge
from didact.tokenization.tokenizer import Tokenizer

Score = Literal["bleu", "chrf", "chrf++", "rouge1", "rouge2", "rougeL", "rougeLsum", "exact", "cer", "wer", "per"]
DEFAULT_COLUMNS: Columns = {"source": "source", "target": "target", "id": "id"}


@dataclass(frozen=True)
class Translate(Task):
    """Files: rows with a source and a target, or parallel files, one text a line, named by one path with the sides in
    braces (`train.{en,de}.gz`: the source's first).

    columns: of source and target, by name or number ({"source": "en", "target": "de"}), and where there is one of id;
    in JSON a target may be a list of texts: the first is learned, all are right. length: of the source in tokens,
    special ones and the texts around it included; target_length: of the target, special ones included, None = `length`;
    too_long: whether a longer text is "cut" at its end, and counted (what is cut off a target is not asked, and neither
    is an end that is not there; scores compare with the whole), or stops the reader ("refuse"); empty: whether a row
    without source or target stops the reader ("refuse") or is left out and counted ("drop"; never where there is
    something to predict). before, after: texts put before and after every source, which is what gives way ("translate
    English to German: "); names of special tokens in them stand for these ("<extra_id_0> "), in a source they are text.
    form: how the model is asked, "encoder_decoder", "causal", "prefix" or "masked" (see `tasks.forms`), None = by the
    model; share: of the target's tokens that "masked" hides.
    decoding: how answers are written, fields of `didact.generation.Decoding` ({"beams": 4, "length_penalty": 0.6}); new
    tokens are at most target_length unless `maximum` says so.
    smoothing: share of each answer that is spread over the vocabulary while training (label smoothing).
    guided: weight of guided attention (encoder-decoders), 0 = none; guide: "diagonal", after Tachibana et al. (2018),
    or "monotonic", after Rios et al. (2021); guide_strength: the width of the one's diagonal, as a share of the texts,
    or the margin of the other; copy: whether tokens of the source can be copied, by where a row looks (See et al.,
    2017); coverage: weight of the loss for looking again where one has looked; looking: the decoder's layer whose
    attention is guided and copied by, -1 = the last.
    teaching: of scheduled sampling, how the share of right tokens that are read decays, "linear", "exponential" or
    "inverse_sigmoid" (see `objectives.scheduled.TeacherRate`), None = all are right; teaching_k: how fast;
    teaching_least: the share it ends with.
    scores: the main one first: bleu, chrf, chrf++, rouge1, rouge2, rougeL, rougeLsum, exact, and the edit-distance
    rates cer (characters), wer (words), per (phonemes, say); separator: what parts the symbols that per counts, white
    space unless told; bleu_tokens: of sacrebleu: 13a, intl, zh, char or none; rouge_words: "english", as papers have
    them, or "any" script's; lowercase: whether BLEU and exact look away from case.
    start, mask, segment, special and border: the token that a decoder begins with, the mask token, the number that
    segments are counted from, whether before and after name special tokens, and the tokens between source and target
    where the form is "causal" and `after` says nothing, learned from the model.
    """

    kind: ClassVar[str] = "translate"
    named: ClassVar[tuple[str, ...]] = ("source", "target")
    answer: ClassVar[str] = "target"
    written: ClassVar[bool] = True

    columns: Columns = field(default_factory=dict)
    format: str | None = None
    header: bool | None = None
    length: int = 128
    target_length: int | None = None
    too_long: Literal["cut", "refuse"] = "cut"
    empty: Literal["refuse", "drop"] = "refuse"
    before: str = ""
    after: str = ""
    form: Form | None = None
    share: float = 0.7
    decoding: Mapping[str, Any] = field(default_factory=dict)
    smoothing: float = 0.0
    guided: float = 0.0
    guide: Guide = "diagonal"
    guide_strength: float = 0.2
    copy: bool = False
    coverage: float = 0.0
    looking: int = -1
    teaching: Decay | None = None
    teaching_k: float = 1000.0
    teaching_least: float = 0.0
    scores: tuple[Score, ...] = ("bleu", "chrf")
    bleu_tokens: str = "13a"
    rouge_words: Words = "english"
    separator: str = " "
    lowercase: bool = False
    start: int | None = None
    mask: int | None = None
    segment: int = 0
    special: bool = False
    border: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.scores if name not in get_args(Score)]
        if unknown or not self.scores:
            raise ValueError(
                f"scores {', '.join(unknown) or 'none'}: expected one or more of {', '.join(get_args(Score))}"
            )
        if not 0 < self.share <= 1:
            raise ValueError(f"share {self.share}: expected above 0 and at most 1")
        if min(self.guided, self.coverage) < 0 or (self.coverage and not self.copy):
            raise ValueError("guided and coverage: expected weights from 0, and coverage only beside copy")
        if self.guide_strength < 0 or (self.guide == "diagonal" and not self.guide_strength):
            raise ValueError(f"guide_strength {self.guide_strength}: expected above 0, or a margin from 0")
        if self.copy and self.smoothing:
            raise ValueError("copy and smoothing: expected one of them, copied tokens are not spread")
        self.heads()
        _ = self.teacher  # which check their own
        if self.target_length is not None and self.target_length < 1:
            raise InputError(f"target_length {self.target_length}", expected="at least 1")
        if len(set(self.scores)) < len(self.scores):
            raise InputError(f"scores {', '.join(self.scores)}", expected="each once")
        if self.teaching is None:
            check_plain(self, ("teaching_k", "teaching_least"), "nothing is sampled", "teaching as well")
        if not self.guided:
            check_plain(self, ("guide", "guide_strength"), "nothing is guided", "guided as well")
        if not self.looks:
            check_plain(self, ("looking",), "nobody asks where rows look", "guided or copy as well")

    def heads(self) -> Mapping[str, Head]:
        own: dict[str, Head] = {forms.HEAD: Vocabulary(smoothing=self.smoothing)}
        return own | (dict(tips.gates(self.looking)) if self.copy else {})

    @property
    def teacher(self) -> TeacherRate | None:
        """How often the right token is read, where it is not always."""
        return None if self.teaching is None else TeacherRate(self.teaching, self.teaching_k, self.teaching_least)

    @property
    def looks(self) -> bool:
        """Whether the loss needs to know where a decoder's rows look."""
        return bool(self.guided or self.copy)

    @property
    def room(self) -> int:
        """Tokens of the longest target."""
        return self.target_length or self.length

    @property
    def largest(self) -> int:
        return max(self.length, self.room) if self.form == "encoder_decoder" else self.length + self.room

    def size(self, example: Example) -> int:
        own, target = len(example), len(example.targets["target"])
        return max(own, target) if self.form == "encoder_decoder" else own + target

    @property
    def writing(self) -> Mapping[str, Any]:
        return {"maximum": self.room, **self.decoding}

    @property
    def watched(self) -> tuple[str, bool]:
        return "nll", False

    def suited(self, config: ModelConfig, tokenizer: Tokenizer, encoder: Collection[str] = ()) -> Self:  # noqa: ARG002
        """The form that the model can be asked in, and what it needs to know of model and tokenizer.

        Raises InputError where it cannot be asked so, or has too few positions.
        """
        form = self.form or forms.form_of(config)
        if (form == "encoder_decoder") is not (config.decoder is not None):
            found = "has no decoder" if config.decoder is None else "has a decoder"
            raise InputError(f"task.translate.form: {form}, and the model {found}", expected="another form, or none")
        if self.looks and config.decoder is None:
            raise InputError("task.translate: guided or copy, and the model has no decoder", expected="one that has")
        layers = config.layers if config.decoder is None else config.decoding.layers
        if self.looks and not -layers <= self.looking < layers:
            raise InputError(f"task.translate.looking: {self.looking}", expected=f"a layer of {layers}, or -1")
        if form == "masked" and self.teaching is not None:
            raise InputError(
                "task.translate.teaching: and the form is masked", expected="a form that reads its answers"
            )
        if form in ("prefix", "masked") and config.visibility == "causal":
            raise InputError(f"task.translate.form: {form}, and the model looks back", expected="causal")
        if form == "causal" and config.visibility != "causal":
            raise InputError("task.translate.form: causal, and the model looks both ways", expected="prefix or masked")
        if form == "masked" and tokenizer.mask is None:
            raise InputError("task.translate.form: masked, and the tokenizer has no mask token", expected="prefix")
        most, apart = config.position.maximum, config.decoder is not None
        if most is not None and (max(self.length, self.room) if apart else self.length + self.room) > most:
            each = "each" if apart else "in all"
            raise InputError(
                f"length {self.length} and target_length {self.room}", expected=f"at most {most} {each}, the model's"
            )
        start = None if config.decoder is None else config.decoder.start
        looking = self.looking % layers if self.looks else self.looking
        segment = 4 if config.segments >= 6 else 0
        special = any(tokenizer.named([self.before, self.after]))
        border = border_of(tokenizer) if form == "causal" and not self.after else ()
        own = replace(self, form=form, looking=looking, start=start, mask=tokenizer.mask, border=border)
        return replace(own, segment=segment, special=special)

    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        mapping = {**DEFAULT_COLUMNS, **self.columns}
        if isinstance(source, str | Path) and (files := sides(source)):
            if len(files) != 2:
                raise InputError(f"{len(files)} sides", file=source, expected="two: the source's and the target's")
            for number, texts in parallel(files):
                named = dict(zip(("source", "target"), texts, strict=True))
                yield Row(named, {"source": "source", "target": "target"}, str(source), number)
            return
        yield from rows(source, mapping, self.format, self.header, not labelled, ("source",))

    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:
        source = row.text("source")
        gold = None if not labelled else tuple(self._references(row))
        missing = "source" if not source.strip() else "target" if gold is not None and not _full(gold) else None
        if missing is not None:
            if self.empty == "drop" and labelled:
                counts[f"rows without a {missing}, left out"] += 1
                return None
            files = () if row.file is None else sides(row.file)
            file = files[missing == "target"] if files else row.file
            raise InputError(f"an empty {missing}", file=file, row=row.number, expected="text (or empty: drop)")
        return {"source": source}, gold

    def _references(self, row: Row) -> list[str]:
        """A target, or several of a JSON list or of several columns."""
        value = row.value("target")
        return row.texts("target") if isinstance(value, list | tuple) else [row.text("target")]

    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        return fitted(self, items, tokenizer)

    def prepared(self, example: Example, rng: np.random.Generator) -> Prepared:
        """An example as the model is asked it; `rng` decides what "masked" hides, and which tokens a model that is
        taught less and less reads of its own.
        """
        made = self._formed(example, rng)
        (asked,) = made.labels
        if self.teaching is not None:
            asked = replace(asked, noise=rng.random(len(asked.rows), np.float32))
        unknown = np.zeros((len(asked.rows), 0), np.int64)  # of what is right, nothing needs to be said
        names = [name for name, weight in (("guided", self.guided), ("coverage", self.coverage)) if weight]
        others = (Labels(forms.HEAD, asked.rows, unknown, side=asked.side, name=name) for name in names)
        return replace(made, labels=(asked, *others))

    def _formed(self, example: Example, rng: np.random.Generator) -> Prepared:
        target, segment = example.targets["target"], example.targets["segment"]
        if self.form == "encoder_decoder":
            if self.start is None:
                raise InputError("the token that a decoder begins with is not known", expected="`start`, or a model")
            return forms.apart(example, target, self.start)
        if not len(target):
            none = np.zeros(0, np.int64)
            return Prepared(example, (Labels(forms.HEAD, none, none),))
        if self.form == "masked":
            if self.mask is None:
                raise InputError("the mask token is not known", expected="`mask`, or a model")
            return forms.blanked(example, target, segment, self.mask, self.share, rng)
        return forms.behind(example, target, segment, self.form == "prefix")

    def posed(self, example: Example) -> Prepared:
        return self.prepared(example, generator(0))

    def ask(self, example: Example) -> Labels:
        return self.posed(example).labels[0]

    def objective(self) -> Translated:
        return Translated(self)

    def decode(self, dataset: Dataset, answers: Sequence[Any]) -> list[Prediction]:
        return [{"id": item.id, "target": str(text).strip()} for item, text in zip(dataset.items, answers, strict=True)]

    def metrics(self) -> tuple[Metric, ...]:
        return tuple(self._metric(name) for name in self.scores)

    def _metric(self, name: Score) -> Metric:
        match name:
            case "bleu":
                return overlap.bleu(self.bleu_tokens, self.lowercase)
            case "chrf":
                return overlap.chrf()
            case "chrf++":
                return overlap.chrf(words=2)
            case "rouge1" | "rouge2" | "rougeL" | "rougeLsum":
                return rouge(name, self.rouge_words)
            case "exact":
                return metrics.share("exact", lambda p, g: float(self._plain(p) in map(self._plain, g)))
            case "cer":
                return edits.CER
            case "wer":
                return edits.WER
            case "per":
                return edits.rate("per", edits.parted(self.separator))

    def _plain(self, text: str) -> str:
        """White space does not count, nor case where that is said."""
        text = " ".join(text.split())
        return text.lower() if self.lowercase else text


@dataclass(frozen=True)
class Translated(Supervised):
    """Fine-tuning to write. Hidden: what the target still has to come. Asked: each token of the target, where the ones
    before it are known (teacher forcing).

    teacher: the share of right tokens that are read at this step.
    """

    kind: ClassVar[str] = "translated"

    teacher: float = 1.0

    @property
    def writes(self) -> Translate:
        """The task."""
        assert isinstance(self.task, Translate)
        return self.task

    @property
    def names(self) -> tuple[str, ...]:
        weights = {"guided": self.writes.guided, "coverage": self.writes.coverage}
        return (forms.HEAD, *(name for name, weight in weights.items() if weight))

    def at(self, step: int) -> Translated:
        rate = self.writes.teacher
        return self if rate is None else replace(self, teacher=rate(step))

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        model = models["main"]
        if self.writes.teaching is not None:
            batch = tips.sampled(self.writes, model, batch, self.teacher)
        if self.writes.looks:
            return tips.losses(self.writes, model, batch)
        return super().loss(models, batch)

    def answers(self, models: Mapping[str, Answering], batch: Batch) -> tuple[Tensor, ...]:
        """Logits; where tokens can be copied, log-probabilities of writing and copying together. Of what is no question
        about tokens, nothing.
        """
        model, (asked, *others) = models["main"], batch.labels
        if self.writes.copy:
            found = tips.copied(model, batch, asked, tips.Read.of(model, batch, self.writes.looking))
        else:
            (found,) = model(replace(batch, labels=(asked,)))
        return found, *(found[:, :0] for _ in others)

    @property
    def decoder(self) -> bool:
        return self.writes.form == "encoder_decoder"

    @property
    def ranked(self) -> bool:
        return self.writes.form in ("prefix", "masked")

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return self.writes.prepared(example, rng)


def _full(texts: tuple[str, ...]) -> bool:
    return bool(texts) and all(text.strip() for text in texts)
