"""One token after the other, each hypothesis by itself: the likeliest one, or one that is drawn.

Shapes: B prompts that still go on, R answers to each, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from didact.generation.decoding import Decoding
from didact.generation.draw import NEVER, draw, finest, narrowed, uniforms
from didact.generation.history import History
from didact.generation.reader import Prompts, Reader
from didact.generation.rules import Rule, apply
from didact.generation.top import log_total, top


@dataclass(frozen=True)
class Hypothesis:
    """tokens: the new ones, the end included where it was written; score: what it is ranked by: of a search see there,
    else the log-likelihood of the tokens under the model's own distribution.
    """

    tokens: tuple[int, ...]
    score: float


Stops = Callable[[Sequence[int]], bool]
"""new tokens so far -> whether the text ends here"""


@dataclass(frozen=True)
class Taken:
    """What one step added: prompts (B,): their places in the batch; tokens (B, R); running (B, R): whether they belong
    to a text that had not ended before.
    """

    prompts: Tensor
    tokens: Tensor
    running: Tensor


class NothingLeft(Exception):
    """The rules forbid every token after one of the prompts. place: its, in the batch."""

    def __init__(self, place: int) -> None:
        super().__init__(f"nothing can be written after prompt {place}")
        self.place = place


class Walk:
    """`steps` goes through the texts token by token; `hypotheses` are all of them, once it has come to its end."""

    def __init__(
        self,
        reader: Reader,
        prompts: Prompts,
        decoding: Decoding,
        ends: Sequence[int],
        rules: Sequence[Rule] = (),
        stops: Sequence[Stops] = (),
        numbers: Sequence[int] | None = None,
    ) -> None:
        """stops: of each prompt; none: no text ends but by a token. numbers: of the prompts, which what is drawn
        depends on; None = 0, 1, 2 …
        """
        self.reader, self.prompts, self.decoding = reader, prompts, decoding
        self.ends, self.rules, self.stops = tuple(ends), rules, stops
        self.numbers = np.arange(len(prompts)) if numbers is None else np.asarray(numbers, np.int64)
        self.hypotheses: list[list[Hypothesis]] = [[] for _ in prompts]

    def steps(self) -> Iterator[Taken]:
        decoding, R = self.decoding, self.decoding.answers
        logits = self.reader.start(self.prompts, R, decoding.maximum)
        device = logits.device
        logits = logits[:, None].expand(-1, R, -1)
        history = History(self.reader.before(self.prompts), R, decoding.maximum, device)
        numbers = torch.arange(len(self.prompts), device=device)
        running = torch.ones(len(self.prompts), R, dtype=torch.bool, device=device)
        scores = torch.zeros(len(self.prompts), R, dtype=finest(device), device=device)
        lengths = torch.zeros(len(self.prompts), R, dtype=torch.int64, device=device)
        ends = torch.tensor(self.ends, dtype=torch.int64, device=device)
        for step in range(decoding.maximum):
            tokens, likely = self._take(logits, history, numbers, step, running)
            history.add(tokens)
            scores += torch.where(running, likely, 0.0)
            lengths += running
            yield Taken(numbers, tokens, running)
            running = running & ~torch.isin(tokens, ends)
            if self.stops:
                running = running & ~self._stopped(history, numbers, running)
            going = running.any(1)
            last = step + 1 == decoding.maximum
            if last or not bool(going.all()):
                self._finish(~going | last, numbers, history, lengths, scores)
                if last or not bool(going.any()):
                    return
                left = going.nonzero().squeeze(1)
                self.reader.keep(left)
                history.keep(left)
                numbers, running, scores, lengths = (x[left] for x in (numbers, running, scores, lengths))
            logits = self.reader.read(history.tokens[:, :, -1])

    def _take(
        self, logits: Tensor, history: History, numbers: Tensor, step: int, running: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The next token of each, and how likely the model thinks it, (B, R). NothingLeft where one has none."""
        B, R, V = logits.shape
        scores = apply(self.rules, logits, history).reshape(B * R, V)
        if self.rules and bool((stuck := running & (scores.amax(1) == NEVER).view(B, R)).any()):
            raise NothingLeft(int(numbers[stuck.any(1)][0]))
        if self.decoding.sample:
            at = uniforms(self.decoding.seed, self.numbers[numbers.cpu().numpy()], R, step)
            tokens = draw(narrowed(scores, self.decoding), at.flatten())
        else:
            tokens = top(scores, 1)[1].squeeze(1)
        tokens = tokens.view(B, R)
        chosen = logits.gather(2, tokens[:, :, None]).squeeze(2)
        return tokens, (chosen - log_total(logits.flatten(0, 1)).view(B, R)).to(finest(logits.device))

    def _stopped(self, history: History, numbers: Tensor, running: Tensor) -> Tensor:
        found = [
            [going and self.stops[number](text) for going, text in zip(*row, strict=True)]
            for number, *row in zip(numbers.tolist(), running.tolist(), history.written.tolist(), strict=True)
        ]
        return torch.from_numpy(np.array(found, bool)).to(running.device)

    def _finish(self, done: Tensor, numbers: Tensor, history: History, lengths: Tensor, scores: Tensor) -> None:
        written = history.written.tolist()
        for b in done.nonzero().squeeze(1).tolist():
            self.hypotheses[int(numbers[b])] = [
                Hypothesis(tuple(text[:n]), score)
                for text, n, score in zip(written[b], lengths[b].tolist(), scores[b].tolist(), strict=True)
            ]
