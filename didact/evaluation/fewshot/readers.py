"""How each kind of model is asked a prompt, and how likely it finds each answer there.

    causal model           what stands before the answer is the context, the answer its continuation
    masked language model  the answer is a blank between what stands before and after it
    encoder-decoder        "text": what stands before the answer is the source, the answer the decoder's text
                           "span", "whole": the answer is a blank, and the decoder writes it (`generation.cloze`)

Which of the three an encoder-decoder is asked goes by what it learned, where that is known: spans behind sentinels,
whole texts around masks; one that was fine-tuned, and one that says nothing of its training, writes text.

What follows the answer comes too late for a model that reads from left to right. Where it holds a field of the
record, a causal model is asked for it as well: log p(answer, rest | before) orders the answers as p(answer | before,
rest) does, by Bayes' rule, and less the answer's own probability it is Trinh & Le's (2018, §3) partial score. An
encoder-decoder that writes the answer is not told what follows, and such a template is refused.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from didact.errors import InputError
from didact.evaluation.fewshot.task import Fewshot, Writes
from didact.generation.asking import Progress, voice
from didact.generation.borders import Pieces, around, beginning, split
from didact.generation.cloze import Cloze, fill_spans, hole_of
from didact.generation.conditional import score_after
from didact.generation.masked import Blank, Laid, Order, fill_in, lay_blanks
from didact.generation.score import Scored, score_pieces
from didact.model import Pretrained, check_fills

T = TypeVar("T")
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Prompt:
    """before: what stands before the answer; after: what follows it, of the question alone; words: what may stand
    there; dropped: demonstrations that did not fit; tells: whether a field of the question is in `after`.
    """

    before: str
    after: str
    words: tuple[str, ...]
    dropped: int = 0
    tells: bool = False


class Reader(ABC):
    """How a kind of model is asked. special: whether names of special tokens in a prompt stand for these."""

    model: Pretrained
    special: bool

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
    special: bool = False
    batch_tokens: int = 8192

    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        asked = self._asked(prompts)
        found = score_pieces(self.model, [own.pieces for own in asked], self.batch_tokens, progress)
        return _apart(prompts, [own.parted(scored) for own, scored in zip(asked, found, strict=True)])

    def pieces(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
        return _apart(prompts, [own.word for own in self._asked(prompts)])

    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        most = self.model.maximum
        if most is None:
            return [True] * len(prompts)
        lead = len(around(self.model.tokenizer)[0])
        each = _apart(prompts, [own.whole for own in self._asked(prompts)])
        return [max(own) + lead <= most + 1 for own in each]

    def _asked(self, prompts: Sequence[Prompt]) -> list[_Asked]:
        """One a word. What follows loses its end where it is too long even after no context, after each word alike."""
        tokenizer = self.model.tokenizer
        told = [prompt.tells and bool(prompt.after.strip()) for prompt in prompts for _ in prompt.words]
        every = [(prompt, word) for prompt in prompts for word in prompt.words]
        bare = [word.rstrip() if tells else word for (_, word), tells in zip(every, told, strict=True)]
        first = split(
            tokenizer, [(prompt.before, word) for (prompt, _), word in zip(every, bare, strict=True)], self.special
        )
        which = [i for i, tells in enumerate(told) if tells]
        pairs = [
            (every[i][0].before + bare[i], every[i][1][len(bare[i]) :] + every[i][0].after) for i in which
        ]  # white space at the end of a word belongs to what follows
        rests = [np.zeros(0, np.int64)] * len(every)
        for i, own in zip(which, split(tokenizer, pairs, self.special), strict=True):
            rests[i] = own.continuation
        keep = [min(map(self._room, own)) for own in _apart(prompts, first)]
        kept = [n for prompt, n in zip(prompts, keep, strict=True) for _ in prompt.words]
        return [_Asked.of(own, rest, n) for own, rest, n in zip(first, rests, kept, strict=True)]

    def _room(self, own: Pieces) -> int:
        """How many tokens can follow these."""
        if self.model.maximum is None:
            return sys.maxsize
        lead = around(self.model.tokenizer)[0] if len(own.context) else beginning(self.model.tokenizer)
        return max(0, self.model.maximum + 1 - max(1, len(lead)) - len(own.continuation))


@dataclass(frozen=True)
class _Asked:
    """pieces: of a context, and of a word with what follows it; size: how many of these are the word's; cut: how many
    more should follow.
    """

    pieces: Pieces
    size: int
    cut: int

    @staticmethod
    def of(word: Pieces, rest: Integers, keep: int) -> _Asked:
        """rest: what follows the word, of which `keep` tokens at most are asked."""
        pieces = Pieces(word.context, np.concatenate([word.continuation, rest[:keep]]))
        return _Asked(pieces, len(word.continuation), max(0, len(rest) - keep))

    @property
    def word(self) -> tuple[int, ...]:
        """Its tokens."""
        return tuple(self.pieces.continuation[: self.size].tolist())

    @property
    def whole(self) -> int:
        """Tokens of all that there is to read."""
        return len(self.pieces.context) + len(self.pieces.continuation) + self.cut

    def parted(self, scored: Scored) -> Scored:
        """The word's tokens, apart from what follows them."""
        own, after = np.split(scored.logprobs, [self.size])
        return Scored(own, scored.likeliest[: self.size], scored.cut + self.cut, float(after.sum()))


@dataclass(frozen=True)
class BlankReader(Reader):
    """Blanks of a masked language model, in an `order` (see `generation.masked`), or of an encoder-decoder, which
    writes them in a `form` (see `generation.cloze`).
    """

    model: Pretrained
    order: Order = "most_certain"
    form: Cloze | None = None
    special: bool = False
    batch_tokens: int = 8192

    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        how: dict[str, Any] = {"special": self.special, "batch_tokens": self.batch_tokens, "progress": progress}
        blanks = _blanks(prompts)
        if self.form is not None:
            return _apart(prompts, fill_spans(self.model, blanks, self.form, **how))
        return _apart(prompts, fill_in(self.model, blanks, self.order, **how))

    def pieces(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
        return _apart(prompts, [tuple(own.tokens[own.rows].tolist()) for own in self._laid(prompts)])

    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        return [max(own.cut for own in each) == 0 for each in _apart(prompts, self._laid(prompts))]

    def _laid(self, prompts: Sequence[Prompt]) -> list[Laid]:
        speaker, _ = voice(self.model)
        return lay_blanks(speaker.tokenizer, _blanks(prompts), speaker.maximum, self.special)


@dataclass(frozen=True)
class ConditionalReader(Reader):
    """Texts of an encoder-decoder. What follows the answer is not read."""

    model: Pretrained
    special: bool = False
    batch_tokens: int = 8192

    def scores(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[list[Scored]]:
        pairs = [(prompt.before, word) for prompt in prompts for word in prompt.words]
        how: dict[str, Any] = {"special": self.special, "batch_tokens": self.batch_tokens, "progress": progress}
        return _apart(prompts, score_after(self.model, pairs, **how))

    def pieces(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
        words = [word.strip() for prompt in prompts for word in prompt.words]
        found = self.model.tokenizer.encode_many(words, special=self.special)
        return _apart(prompts, [tuple(own.tokens.tolist()) for own in found])

    def fits(self, prompts: Sequence[Prompt]) -> list[bool]:
        most, tokenizer = self.model.maximum, self.model.tokenizer
        if most is None:
            return [True] * len(prompts)
        encoded = tokenizer.encode_many([prompt.before.rstrip() for prompt in prompts], special=self.special)
        return [len(own) + tokenizer.template.overhead(pair=False) <= most for own in encoded]


def reader_of(model: Pretrained, task: Fewshot, batch_tokens: int = 8192) -> Reader:
    """The way to ask this model. Raises InputError for one that neither goes on with a text nor fills blanks, and for
    templates with what it could not be told.
    """
    speaker, _ = voice(model)
    special = any(speaker.tokenizer.named(task.texts))
    if model.model.config.decoder is not None:
        writes = task.decoder or _writes(model)
        if writes == "text":
            _check_last(task)
            return ConditionalReader(model, special, batch_tokens)
        hole_of(speaker.tokenizer, writes)
        return BlankReader(model, task.order, writes, special, batch_tokens)
    if model.model.config.visibility == "causal":
        return CausalReader(model, special, batch_tokens)
    check_fills(speaker)
    return BlankReader(model, task.order, None, special, batch_tokens)


def _writes(model: Pretrained) -> Writes:
    """What an encoder-decoder learned to write, as far as it says."""
    if any(part.get("sentinels_shown", True) for part in model.learned("span_corruption")):
        return "span"
    infilled = [own for part in model.learned("denoised") for own in part.get("corruptions", ())]
    return "whole" if any(own.get("kind") == "infill" for own in infilled) else "text"


def _check_last(task: Fewshot) -> None:
    """Raises InputError where a field follows the answer."""
    for number, template in enumerate(task.templates):
        if template.tells:
            told = next(name for _, name in template.after if name is not None)
            raise InputError(
                f"template {number}: {{{told}}} follows the answer, and an encoder-decoder that writes the answer reads"
                " what stands before it alone",
                expected="the fields first, or decoder: span or whole",
            )


def _blanks(prompts: Sequence[Prompt]) -> list[Blank]:
    return [Blank(prompt.before, word, prompt.after) for prompt in prompts for word in prompt.words]


def _apart(prompts: Sequence[Prompt], found: Sequence[T]) -> list[list[T]]:
    rest = iter(found)
    return [[next(rest) for _ in prompt.words] for prompt in prompts]
