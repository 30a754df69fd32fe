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
from typing import TypeVar

from didact.errors import InputError
from didact.evaluation.fewshot.task import Case, Fewshot
from didact.evaluation.fewshot.template import Template
from didact.generation.asking import Progress, voice
from didact.generation.borders import around, split
from didact.generation.conditional import score_after
from didact.generation.masked import Blank, Laid, Order, fill_in, lay_blanks
from didact.generation.score import Scored, score
from didact.model import Pretrained, check_fills

T = TypeVar("T")


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

    model: Pretrained

    @property
    def unknown(self) -> int | None:
        """The token that stands for what the tokenizer cannot write."""
        return voice(self.model)[0].tokenizer.unk

    @abstractmethod
    def pieces(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
        """For each prompt the tokens that its words are asked as."""

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

    def pieces(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
        pairs = [(prompt.before, word) for prompt in prompts for word in prompt.words]
        found = split(self.model.tokenizer, pairs)
        return _apart(prompts, [tuple(own.continuation.tolist()) for own in found])

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
        found = fill_in(self.model, _blanks(prompts), self.order, batch_tokens=self.batch_tokens, progress=progress)
        return _apart(prompts, found)

    def pieces(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
        return _apart(prompts, [tuple(own.tokens[own.rows].tolist()) for own in self._laid(prompts)])

    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        return [max(own.cut for own in each) == 0 for each in _apart(prompts, self._laid(prompts))]

    def _laid(self, prompts: Sequence[Prompt]) -> list[Laid]:
        speaker, _ = voice(self.model)
        return lay_blanks(speaker.tokenizer, _blanks(prompts), speaker.maximum)


@dataclass(frozen=True)
class ConditionalReader(Reader):
    """Texts of an encoder-decoder. What follows the answer is not read."""

    model: Pretrained
    batch_tokens: int = 8192

    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        pairs = [(prompt.before, word) for prompt in prompts for word in prompt.words]
        return _apart(prompts, score_after(self.model, pairs, batch_tokens=self.batch_tokens, progress=progress))

    def pieces(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
        found = self.model.tokenizer.encode_many([word.strip() for prompt in prompts for word in prompt.words])
        return _apart(prompts, [tuple(own.tokens.tolist()) for own in found])

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


def check_answers(reader: Reader, task: Fewshot, questions: Sequence[Case]) -> None:
    """Raises InputError for an answer that the tokenizer cannot write, and for two whose tokens are the same: no score
    could tell what they say.
    """
    kind = "label" if task.choices is None else task.choices
    asked = list({case.words: case for case in reversed(questions)}.values())
    for template in task.templates:
        words = [[word for own in case.words for word in own] for case in asked]
        prompts = [written(task, template, [], case.fields, own) for case, own in zip(asked, words, strict=True)]
        for case, own, found in zip(asked, words, reader.pieces(prompts), strict=True):
            file, row = (None, None) if task.choices is None else (case.file, case.row)
            owners = [i for i, some in enumerate(case.words) for _ in some]
            first: dict[tuple[int, ...], int] = {}
            for i, word, pieces in zip(owners, own, found, strict=True):
                name = f"{kind} {case.names[i]!r}"
                if reader.unknown is not None and reader.unknown in pieces:
                    raise InputError(
                        f"{name}: the tokenizer cannot write {word!r}",
                        file=file, row=row, expected="an answer made of its pieces",
                    )  # fmt: skip
                if (other := first.setdefault(pieces, i)) != i:
                    raise InputError(
                        f"{name}: {word!r} has the same tokens as an answer of {case.names[other]!r}",
                        file=file, row=row, expected="answers that differ to the tokenizer",
                    )  # fmt: skip


def _blanks(prompts: Sequence[Prompt]) -> list[Blank]:
    return [Blank(prompt.before, word, prompt.after) for prompt in prompts for word in prompt.words]


def _apart(prompts: Sequence[Prompt], found: Sequence[T]) -> list[list[T]]:
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
