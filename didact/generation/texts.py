"""From tokens to text: what follows a prompt, texts that end one, and pieces of a text that is still being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from didact.tokenization.tokenizer import Tokenizer

_TORN = "�"  # what a decoder writes for bytes that are no character, or not yet
_MOVING = 8  # characters at the end of what WordPiece's decoder writes that a further token may still pull together


@dataclass(frozen=True)
class Following:
    """The text of new tokens. prompt: tokens that they continue, () where they are a text of their own: a decoder may
    write the first token of a text otherwise than one in its middle.
    """

    tokenizer: Tokenizer
    prompt: tuple[int, ...] = ()

    def __call__(self, tokens: Sequence[int]) -> str:
        if not self.prompt:
            return self.tokenizer.decode(tokens)
        before, every = self.tokenizer.decode(self.prompt), self.tokenizer.decode([*self.prompt, *tokens])
        return every[len(before) :] if every.startswith(before) else self.tokenizer.decode(tokens)


@dataclass(frozen=True)
class Stopping:
    """Whether the newest tokens complete one of the texts that end a text; and the text up to it."""

    tokenizer: Tokenizer
    texts: tuple[str, ...]

    def __call__(self, tokens: Sequence[int]) -> bool:
        # A token is at least one byte, so a text of n bytes lies in the last n tokens.
        most = max(len(text.encode()) for text in self.texts) + 8
        written = self.tokenizer.decode(tokens[-most:])
        return any(text in written for text in self.texts)

    def cut(self, text: str) -> str:
        """The text before the first of them."""
        found = [at for stop in self.texts if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else text

    def pending(self, text: str) -> int:
        """How many characters at the end of a text may be the begin of one of them."""
        sizes = range(max(map(len, self.texts)) - 1, 0, -1)
        return next((n for n in sizes if any(len(s) > n and text.endswith(s[:n]) for s in self.texts)), 0)


@dataclass
class Pieces:
    """A text in pieces, as it is written: together they are the text, and none ends within a character."""

    following: Following
    stopping: Stopping | None = None
    tokens: list[int] = field(default_factory=list)
    given: str = ""

    def add(self, token: int) -> str:
        """What can be said of the text once this token is known, "" where nothing more can."""
        self.tokens.append(token)
        text = self.following(self.tokens)
        sure = text.rstrip(_TORN)
        if self.following.tokenizer.continuation:
            sure = sure[: len(text) - _MOVING] if len(text) > _MOVING else ""
        if self.stopping is not None:
            sure = self.stopping.cut(sure)
            sure = sure[: len(sure) - self.stopping.pending(sure)]
        return self._give(sure)

    def end(self) -> str:
        """What is left when no token comes any more."""
        text = self.following(self.tokens)
        return self._give(text if self.stopping is None else self.stopping.cut(text))

    def _give(self, sure: str) -> str:
        if not sure.startswith(self.given):
            return ""
        new, self.given = sure[len(self.given) :], sure
        return new
