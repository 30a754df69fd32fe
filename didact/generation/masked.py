"""What a masked language model says of given words: cloze with verbalizers (PET: Schick & Schütze, 2021, §3.1) and
pseudo-log-likelihood (Salazar et al., 2020, §2; Kauf & Ivanova, 2023, within words).

    Blank("The film was awful. It was", "bad", ".")

The pieces that cover a character of the middle text are asked, each under a mask. What else is masked meanwhile is the
`Order`; its sum is a logarithm of a probability where it says so, else a pseudo-log-likelihood.

    pseudo         nothing else: all other words are seen (Salazar et al.)
    words          the pieces that follow in the same word, which would give it away (Kauf & Ivanova, "within-word
                   left-to-right")
    left_to_right  all pieces that follow: the chain rule, so a joint probability
    together       all pieces, each asked at once: exact for one piece, for several as if they were independent
    most_certain   all that are not yet filled; of these the piece that the model is surest of is filled next: a joint
                   probability in the order that the model takes (Schick & Schütze, 2021b, "It's not just size", §3.1)

A blank of k pieces takes k masks: the model is told how long the answer is.

Shapes: L tokens of a text, m asked rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from didact.errors import InputError
from didact.generation.asking import Progress, Question, ask, voice
from didact.generation.score import Scored
from didact.model import Pretrained, check_fills
from didact.tokenization.encoded import Encoded
from didact.tokenization.tokenizer import Tokenizer, frame

Integers = NDArray[np.int64]
Order = Literal["pseudo", "words", "left_to_right", "together", "most_certain"]


@dataclass(frozen=True)
class Blank:
    """text: what is asked, between two texts that are only read."""

    before: str
    text: str
    after: str = ""


@dataclass(frozen=True)
class Laid:
    """A blank in tokens: tokens, segments (L,), the text in place; rows (m,) of the asked pieces; words (m,): the
    number of the word of each; cut: tokens that did not fit.
    """

    tokens: Integers
    segments: Integers | None
    rows: Integers
    words: Integers
    cut: int = 0

    def question(self, mask: int, hidden: Integers, asked: Integers) -> Question:
        """Rows `hidden` under the mask, rows `asked` asked for what stands there."""
        tokens = self.tokens.copy()
        tokens[hidden] = mask
        return Question(tokens, asked, self.tokens[asked], self.segments)


def fill_in(
    pretrained: Pretrained,
    blanks: Sequence[Blank],
    order: Order = "most_certain",
    *,
    special: bool = False,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> list[Scored]:
    """How likely the model finds what stands in each blank, in order; see the module for `order`. special: names of
    special tokens in the texts stand for them.

    A text too long for the model loses its beginning, then its end, never a part of what is asked. Raises InputError
    for a model that fills no blanks (causal, with a decoder, with query rows), one without a mask token or a vocabulary
    head, and a blank without a piece or longer than the model takes.
    """
    speaker, _ = voice(pretrained)
    mask = speaker.tokenizer.mask
    check_fills(speaker)
    if mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK] or <mask>")
    laid = lay_blanks(speaker.tokenizer, blanks, speaker.maximum, special)
    if order == "most_certain":
        return _most_certain(speaker, laid, mask, batch_tokens, progress)
    questions, counts = [], []
    for own in laid:
        hidden = _hidden(own, order)
        questions += [own.question(mask, rows, asked) for rows, asked in hidden]
        counts.append(len(hidden))
    answers = iter(ask(speaker, questions, batch_tokens, progress))
    found = []
    for own, count in zip(laid, counts, strict=True):
        parts = [next(answers) for _ in range(count)]
        logprobs, likeliest = zip(*((part.logprobs, part.likeliest) for part in parts), strict=True)
        found.append(Scored(np.concatenate(logprobs), np.concatenate(likeliest), own.cut))
    return found


def pseudo(
    pretrained: Pretrained, whole: Sequence[str], order: Order = "words", *, batch_tokens: int = 8192
) -> list[Scored]:
    """The pseudo-log-likelihood of whole texts: every token is asked with all others in sight but those that `order`
    hides besides. L tokens take L passes. Raises InputError for a text longer than the model takes.
    """
    return fill_in(pretrained, [Blank("", text) for text in whole], order, batch_tokens=batch_tokens)


def lay_blanks(
    tokenizer: Tokenizer, blanks: Sequence[Blank], maximum: int | None = None, special: bool = False
) -> list[Laid]:
    """Blanks in tokens, cut to `maximum`; see `fill_in`."""
    encoded = tokenizer.encode_many([blank.before + blank.text + blank.after for blank in blanks], special=special)
    return [_lay(tokenizer, blank, own, maximum) for blank, own in zip(blanks, encoded, strict=True)]


def _lay(tokenizer: Tokenizer, blank: Blank, own: Encoded, maximum: int | None) -> Laid:
    assert own.offsets is not None
    begin, end = len(blank.before), len(blank.before) + len(blank.text)
    start, stop = own.offsets.T
    covers = np.where(start == stop, (start >= begin) & (start < end), (start < end) & (stop > begin))
    rows = np.flatnonzero(covers)
    if not len(rows):
        raise InputError(f"nothing to score in {blank.text!r}", expected="a text with letters in it")
    over = 0 if maximum is None else max(0, len(own) + tokenizer.template.overhead(pair=False) - maximum)
    first = min(over, int(rows[0]))
    last = len(own) - (over - first)
    if last <= rows[-1]:
        raise InputError(f"an answer of {int(rows[-1] - rows[0]) + 1} tokens", expected=f"fewer, of {maximum} in all")
    example = frame(tokenizer, own.cut(first, last))
    assert example.words is not None
    lead = int(np.flatnonzero(~example.special)[0])
    rows = rows - first + lead
    return Laid(example.tokens, example.segments, rows, example.words[rows], over)


def _hidden(own: Laid, order: Order) -> list[tuple[Integers, Integers]]:
    """For each pass over a blank: the rows under the mask, and the rows asked."""
    match order:
        case "together":
            return [(own.rows, own.rows)]
        case "pseudo":
            return [(own.rows[i : i + 1], own.rows[i : i + 1]) for i in range(len(own.rows))]
        case "words":
            later = [own.rows[i:][own.words[i:] == own.words[i]] for i in range(len(own.rows))]
            return [(rows, rows[:1]) for rows in later]
        case "left_to_right":
            return [(own.rows[i:], own.rows[i : i + 1]) for i in range(len(own.rows))]
    raise ValueError(f"order {order!r}")


def _most_certain(
    speaker: Pretrained, laid: Sequence[Laid], mask: int, batch_tokens: int, progress: Progress | None
) -> list[Scored]:
    """A pass for each piece: all that are left are asked, the surest is filled in."""
    logprobs = [np.zeros(len(own.rows)) for own in laid]
    likeliest = [np.zeros(len(own.rows), bool) for own in laid]
    left = [np.arange(len(own.rows)) for own in laid]
    while going := [b for b, rest in enumerate(left) if len(rest)]:
        questions = [laid[b].question(mask, laid[b].rows[left[b]], laid[b].rows[left[b]]) for b in going]
        for b, answer in zip(going, ask(speaker, questions, batch_tokens), strict=True):
            surest = int(answer.logprobs.argmax())
            which = left[b][surest]
            logprobs[b][which], likeliest[b][which] = answer.logprobs[surest], answer.likeliest[surest]
            left[b] = np.delete(left[b], surest)
            if progress is not None and not len(left[b]):
                progress(1)
    return [Scored(p, best, own.cut) for p, best, own in zip(logprobs, likeliest, laid, strict=True)]
