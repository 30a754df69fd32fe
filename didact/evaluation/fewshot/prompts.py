"""A question with its demonstrations as a model reads it, for each kind of model; and what gives way where it is too
long.

    causal model           what stands before the answer is the context, the answer its continuation
    masked language model  the answer is a blank between what stands before and after it
    encoder-decoder        what stands before the answer is the source, the answer the decoder's text

Where a prompt does not fit, demonstrations go from the front, the furthest from the question first, until it does; if
it does not fit without any, the beginning of the text is cut. Both are counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from didact.evaluation.fewshot.task import Case, Fewshot
from didact.evaluation.fewshot.template import Template
from didact.generation.asking import Progress, voice
from didact.generation.borders import around, split
from didact.generation.conditional import score_after
from didact.generation.masked import Blank, Order, fill_in, lay_blanks
from didact.generation.score import Scored, score
from didact.model import Pretrained, check_fills


@dataclass(frozen=True)
class Prompt:
    """before: what stands before the answer; after: what follows it, of the question alone; words: what may stand
    there; dropped: demonstrations that did not fit.
    """

    before: str
    after: str
    words: tuple[str, ...]
    dropped: int = 0


class Reader(ABC):
    """How a kind of model is asked."""

    @abstractmethod
    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        """For each prompt what its words score."""

    @abstractmethod
    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        """Whether nothing of a prompt has to be cut, whatever the answer."""


@dataclass(frozen=True)
class CausalReader(Reader):
    """Continuations of a causal model."""

    model: Pretrained
    batch_tokens: int = 8192

    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        pairs = [(prompt.before, word) for prompt in prompts for word in prompt.words]
        return _apart(prompts, score(self.model, pairs, batch_tokens=self.batch_tokens, progress=progress))

    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        most = self.model.maximum
        if most is None:
            return [True] * len(prompts)
        lead = len(around(self.model.tokenizer)[0])
        pairs = [(prompt.before, word) for prompt in prompts for word in prompt.words]
        sizes = iter(len(own.context) + len(own.continuation) for own in split(self.model.tokenizer, pairs))
        return [max(next(sizes) for _ in prompt.words) + lead <= most + 1 for prompt in prompts]


@dataclass(frozen=True)
class MaskedReader(Reader):
    """Blanks of a masked language model. order: see `generation.masked`."""

    model: Pretrained
    order: Order = "most_certain"
    batch_tokens: int = 8192

    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        blanks = [Blank(prompt.before, word, prompt.after) for prompt in prompts for word in prompt.words]
        found = fill_in(self.model, blanks, self.order, batch_tokens=self.batch_tokens, progress=progress)
        return _apart(prompts, found)

    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        speaker, _ = voice(self.model)
        blanks = [Blank(prompt.before, word, prompt.after) for prompt in prompts for word in prompt.words]
        cut = iter(own.cut for own in lay_blanks(speaker.tokenizer, blanks, speaker.maximum))
        return [max(next(cut) for _ in prompt.words) == 0 for prompt in prompts]


@dataclass(frozen=True)
class ConditionalReader(Reader):
    """Texts of an encoder-decoder. What follows the answer is not read."""

    model: Pretrained
    batch_tokens: int = 8192

    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        pairs = [(prompt.before, word) for prompt in prompts for word in prompt.words]
        return _apart(prompts, score_after(self.model, pairs, batch_tokens=self.batch_tokens, progress=progress))

    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        most, tokenizer = self.model.maximum, self.model.tokenizer
        if most is None:
            return [True] * len(prompts)
        encoded = tokenizer.encode_many([prompt.before.rstrip() for prompt in prompts])
        return [len(own) + tokenizer.template.overhead(pair=False) <= most for own in encoded]


def reader_of(model: Pretrained, task: Fewshot, batch_tokens: int = 8192) -> Reader:
    """The way to ask this model. Raises InputError for one that neither goes on with a text nor fills blanks."""
    if model.model.config.decoder is not None:
        return ConditionalReader(model, batch_tokens)
    if model.model.config.visibility == "causal":
        return CausalReader(model, batch_tokens)
    check_fills(voice(model)[0].model.config)
    return MaskedReader(model, task.order, batch_tokens)


def _apart(prompts: Sequence[Prompt], found: Sequence[Scored]) -> list[list[Scored]]:
    rest = iter(found)
    return [[next(rest) for _ in prompt.words] for prompt in prompts]


def written(
    task: Fewshot, template: Template, shown: Sequence[Case], fields: Mapping[str, str], words: Sequence[str]
) -> Prompt:
    """Description, demonstrations with their answers, and the question, whose fields are `fields`."""
    parts = [task.description] if task.description else []
    for case in shown:
        before, after = template.sides(case.fields)
        parts.append(before + case.answer + after)
    before, after = template.sides(fields)
    return Prompt(task.separator.join([*parts, before]), after, tuple(words))


def fitted(
    reader: Reader,
    task: Fewshot,
    template: Template,
    shown: Sequence[Sequence[Case]],
    fields: Sequence[Mapping[str, str]],
    words: Sequence[Sequence[str]],
) -> list[Prompt]:
    """A prompt for each question: its demonstrations, its fields, its words; those that do not fit give way."""
    first = [0] * len(shown)
    made = [written(task, template, *own) for own in zip(shown, fields, words, strict=True)]
    open_ = [i for i in range(len(made)) if shown[i]]
    while open_:
        fits = reader.fits([made[i] for i in open_])
        open_ = [i for i, right in zip(open_, fits, strict=True) if not right and first[i] < len(shown[i])]
        for i in open_:
            first[i] += 1
            made[i] = written(task, template, shown[i][first[i] :], fields[i], words[i])
    return [Prompt(p.before, p.after, p.words, gone) for p, gone in zip(made, first, strict=True)]
