"""The log-likelihood of given continuations under a causal model (Brown et al., 2020, §2.4), and of whole texts.

    scored = score(pretrained, [("Paris is the capital of", " France"), …])
    scored[0].total                      # log p(continuation | context), nats

Borders are `generation.borders`'. What is too long loses the beginning of its context, never a part of what is scored;
special tokens that begin every text of the tokenizer stay. An empty context is the token that begins texts.

Shapes: m tokens of a continuation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from didact.errors import InputError
from didact.generation.asking import Answer, Progress, Question, ask
from didact.generation.borders import Pieces, around, beginning, split
from didact.model import Pretrained

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """logprobs (m,) float64: of each token of what was scored, nats; likeliest (m,) bool: whether none was likelier
    there; cut: tokens of context that did not fit; follows: nats of what comes after it, where that was asked, too.
    """

    logprobs: NDArray[np.float64]
    likeliest: NDArray[np.bool_]
    cut: int = 0
    follows: float = 0.0

    @property
    def own(self) -> float:
        """The logarithm of its probability."""
        return float(self.logprobs.sum())

    @property
    def total(self) -> float:
        """The logarithm of the probability of it and of what follows."""
        return self.own + self.follows

    @property
    def tokens(self) -> int:
        """m."""
        return len(self.logprobs)

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would have written it."""
        return bool(self.likeliest.all())

    @staticmethod
    def of(answer: Answer, cut: int = 0) -> Scored:
        return Scored(answer.logprobs, answer.likeliest, cut)


def score(
    pretrained: Pretrained,
    pairs: Sequence[tuple[str, str]],
    *,
    special: bool = False,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> list[Scored]:
    """One Scored a (context, continuation), in order. special: names of special tokens in the texts stand for them.

    Raises InputError for a model that sees what it is asked, a continuation without a piece, and one that is longer
    than the model takes.
    """
    return score_pieces(pretrained, split(pretrained.tokenizer, pairs, special), batch_tokens, progress)


def score_pieces(
    pretrained: Pretrained, pieces: Sequence[Pieces], batch_tokens: int = 8192, progress: Progress | None = None
) -> list[Scored]:
    """`score` of what is in tokens already."""
    _check_causal(pretrained)
    before, _ = around(pretrained.tokenizer)
    start = beginning(pretrained.tokenizer)
    asked, cuts = [], []
    for own in pieces:
        lead = before if len(own.context) else start
        question, cut = _question(own, lead, pretrained.maximum, pretrained.prefixed)
        asked.append(question)
        cuts.append(cut)
    answers = ask(pretrained, asked, batch_tokens, progress)
    return [Scored.of(answer, cut) for answer, cut in zip(answers, cuts, strict=True)]


def _question(own: Pieces, lead: Integers, maximum: int | None, prefixed: bool) -> tuple[Question, int]:
    """The row before each token of the continuation is asked for it; and how much of the context had to go. prefixed:
    whether the context sees itself whole.
    """
    m = len(own.continuation)
    room = len(own.context) if maximum is None else maximum + 1 - m - len(lead)
    if room < 0 or len(lead) + min(room, len(own.context)) == 0:
        fits = "a model with a token that begins texts" if maximum is None or room >= 0 else f"at most {maximum}"
        raise InputError(f"a continuation of {m} tokens after {len(own.context)}", expected=fits)
    cut = max(0, len(own.context) - room)
    whole = np.concatenate([lead, own.context[cut:], own.continuation])
    rows = np.arange(len(whole) - m - 1, len(whole) - 1)
    return Question(whole[:-1], rows, own.continuation, prefix=len(whole) - m if prefixed else 0), cut


def texts(
    pretrained: Pretrained,
    whole: Sequence[str],
    *,
    special: bool = False,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> list[Scored]:
    """The log-likelihood of whole texts, however long: every token is asked once, after as many tokens before it as its
    window has (`windows`); an empty text scores nothing.
    """
    _check_causal(pretrained)
    tokenizer = pretrained.tokenizer
    start = beginning(tokenizer)
    if not len(start):
        raise InputError("the tokenizer has no token that begins texts", expected="one with a bos or eos token")
    asked: list[Question] = []
    counts: list[int] = []
    for encoded in tokenizer.encode_many(whole, special=special):
        own = list(windows(np.concatenate([start, encoded.tokens]), len(start), pretrained.maximum))
        asked += own
        counts.append(len(own))
    answers = iter(ask(pretrained, asked, batch_tokens, progress))
    found = []
    for count in counts:
        parts = [next(answers) for _ in range(count)]
        none = [Answer(np.zeros(0), np.zeros(0, bool))]
        logprobs, likeliest = zip(*((part.logprobs, part.likeliest) for part in parts or none), strict=True)
        found.append(Scored(np.concatenate(logprobs), np.concatenate(likeliest)))
    return found


def windows(tokens: Integers, lead: int, maximum: int | None) -> Iterator[Question]:
    """tokens (L,), the first `lead` of which are only read -> questions of at most `maximum` rows that together ask
    every other token once. All are asked for what is new to them, and the last is as long as the others (the rule of
    lm-evaluation-harness's `get_rolling_token_windows` with a context of 1).
    """
    done, longest = lead, len(tokens) if maximum is None else maximum
    while done < len(tokens):
        end = min(len(tokens), longest + 1 if done == lead else done + longest)
        begin = max(0, end - 1 - longest)
        yield Question(tokens[begin : end - 1], np.arange(done - 1, end - 1) - begin, tokens[done:end])
        done = end


def _check_causal(pretrained: Pretrained) -> None:
    if pretrained.model.config.visibility != "causal":
        raise InputError(
            "this model sees the words that it would be asked for", expected="a causal model, or generation.masked"
        )
