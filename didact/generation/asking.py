"""How likely a model finds given tokens at given rows: many questions, packed, equal inputs read once.

A question is a sequence, some of its rows, and a token for each. Questions about equal sequences share one pass, and so
in a causal model do questions about a sequence and about the beginning of it, because no row sees what comes after it:
the choices of a question that are one token each cost one pass together.

Shapes: L tokens of a sequence, m asked rows of a question, n asked rows of a pack, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from didact.batch import Example, Labels
from didact.data.lay import lay
from didact.errors import InputError
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.nn.core import Hidden
from didact.tasks.answering import batches
from didact.visibility import prefix

Integers = NDArray[np.int64]
Progress = Callable[[int], object]
LOGITS = 2**24  # of one call of the head: 64 MiB of float32


@dataclass(frozen=True)
class Question:
    """tokens (L,) int64: what the model reads, special tokens in place; rows (m,) int64: which of them are asked;
    values (m,) int64: the tokens whose probability is wanted there; segments (L,) int64 or None; prefix: rows at the
    beginning that see each other, later ones look back, 0 = all see as the model's rows do.
    """

    tokens: Integers
    rows: Integers
    values: Integers
    segments: Integers | None = None
    prefix: int = 0


@dataclass(frozen=True)
class Answer:
    """logprobs (m,) float64: nats, at most 0; likeliest (m,) bool: whether no other token was likelier."""

    logprobs: NDArray[np.float64]
    likeliest: NDArray[np.bool_]


def voice(pretrained: Pretrained) -> tuple[Pretrained, str]:
    """The model that has a vocabulary head, and the head's name: itself, or the companion that has one (ELECTRA's
    generator). Raises InputError where there is none.
    """
    for model in (pretrained, *pretrained.companions.values()):
        for name, head in model.model.specs.items():
            if isinstance(head, Vocabulary) and head.stream == "main":
                return model, name
    raise InputError("this model has no vocabulary head", expected="a model pre-trained on words")


@torch.inference_mode()
def ask(
    pretrained: Pretrained, questions: Sequence[Question], batch_tokens: int = 8192, progress: Progress | None = None
) -> list[Answer]:
    """The answers, in the questions' order.

    batch_tokens: at most so many tokens in one pass (a longer sequence goes alone); progress: told how many questions
    have been answered.
    """
    speaker, head = voice(pretrained)
    model = speaker.model.eval()
    read, place = _distinct(questions, model.config.visibility == "causal")
    asking: list[list[int]] = [[] for _ in read]
    for i, at in enumerate(place):
        asking[at].append(i)
    found: list[Any] = [None] * len(questions)
    for some in batches(np.array([len(read[s].tokens) for s in range(len(read))], np.int64), batch_tokens):
        own = [i for s in some for i in asking[s]]
        starts = dict(zip(some, np.cumsum([0, *(len(read[s].tokens) for s in some)]).tolist(), strict=False))
        rows = np.concatenate([questions[i].rows + starts[place[i]] for i in own])
        values = np.concatenate([questions[i].values for i in own])
        flat = lay([Example(read[s].tokens, np.zeros(len(read[s].tokens), bool), read[s].segments) for s in some])
        side = flat.batch(np.arange(len(some))).inputs
        if any(read[s].prefix for s in some):
            own_prefix = torch.tensor([read[s].prefix for s in some])
            side = replace(side, visibility=prefix(side.packed.positions, own_prefix[side.packed.sequence_ids()]))
        side = side.to(model.device)
        logprobs, likeliest = look_up(model, head, model.hidden(side), rows, values)
        cuts = np.cumsum([len(questions[i].rows) for i in own])[:-1]
        for i, p, best in zip(own, np.split(logprobs, cuts), np.split(likeliest, cuts), strict=True):
            found[i] = Answer(p, best)
        if progress is not None:
            progress(len(own))
    return found


def _distinct(questions: Sequence[Question], causal: bool) -> tuple[list[Question], list[int]]:
    """A question of each sequence that must be read, and for every question which of these it is answered from."""
    number: dict[tuple[bytes, bytes, int], int] = {}
    read: list[Question] = []
    place: list[int] = []
    for q in questions:
        segments = b"" if q.segments is None else q.segments.tobytes()
        known = (np.asarray(q.tokens, np.int64).tobytes(), segments, q.prefix)
        if known not in number:
            number[known] = len(read)
            read.append(q)
        place.append(number[known])
    if not causal or len(read) < 2:
        return read, place
    # In the order of words in a dictionary, what begins with a sequence follows it at once, of each prefix.
    order = sorted(range(len(read)), key=lambda s: (read[s].prefix, read[s].tokens.tolist()))
    within = {order[-1]: order[-1]}
    for s, later in zip(order[-2::-1], order[:0:-1], strict=True):
        within[s] = within[later] if _begins(read[s], read[later]) else s
    kept = [s for s in range(len(read)) if within[s] == s]
    numbered = {s: i for i, s in enumerate(kept)}
    return [read[s] for s in kept], [numbered[within[s]] for s in place]


def _begins(short: Question, long: Question) -> bool:
    n = len(short.tokens)
    if short.prefix != long.prefix or not np.array_equal(short.tokens, long.tokens[:n]):
        return False
    if short.segments is None or long.segments is None:
        return short.segments is long.segments
    return bool(np.array_equal(short.segments, long.segments[:n]))


def look_up(
    model: Model, head: str, hidden: Hidden, rows: Integers, values: Integers
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of the tokens `values` (n,) at rows `rows` (n,), some rows at a time: a row is put to the head once."""
    distinct, which = np.unique(rows, return_inverse=True)
    order = np.argsort(which, kind="stable")
    step = max(1, LOGITS // model.config.vocabulary)
    logprobs, likeliest = np.empty(len(rows)), np.empty(len(rows), bool)
    for first in range(0, len(distinct), step):
        at = torch.from_numpy(distinct[first : first + step]).to(model.device)
        logits = model.answer(hidden, Labels(head, at, at)).float()
        low, high = np.searchsorted(which[order], [first, first + step])
        own = order[low:high]
        row = torch.from_numpy(which[own] - first).to(model.device)
        value = torch.from_numpy(values[own]).to(model.device)
        logprobs[own] = (logits[row, value] - logits.logsumexp(-1)[row]).cpu().double().numpy()
        likeliest[own] = (logits.argmax(-1)[row] == value).cpu().numpy()
    return logprobs, likeliest
