"""From tokens to text: what follows a prompt, texts that end one, and pieces of a text that is still being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from didact.tokenization.surfaces import tail
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
        every = self.tokenizer.decode([*self.prompt, *tokens])
        return every[len(self._before) :] if every.startswith(self._before) else self.tokenizer.decode(tokens)

    @cached_property
    def _before(self) -> str:
        return self.tokenizer.decode(self.prompt)


@dataclass(frozen=True)
class Stopping:
    """Whether the newest tokens complete one of the texts that end a text; and the text up to it. texts: not empty."""

    following: Following
    texts: tuple[str, ...]

    def __call__(self, tokens: Sequence[int]) -> bool:
        """Asked after every token. The bytes of the newest ones say whether a text can have been completed; whether it
        has is seen in the text itself. (What is decoded alone may begin within a character, or lose its first space.)
        """
        surfaces = self.following.tokenizer.surfaces
        # A token more than the longest text: of some decoders a word has the space behind it once another word comes.
        size = max(map(len, self._bytes)) + len(tail(surfaces, tokens[-1:], 1))
        newest = tail(surfaces, tokens, size)
        # The first token may be written otherwise than its surface ("##ing"); as long as it is near, the text is seen.
        if len(newest) >= size and not any(text in newest for text in self._bytes):
            return False
        written = self.following(tokens)
        return any(text in written for text in self.texts)

    @cached_property
    def _bytes(self) -> tuple[bytes, ...]:
        return tuple(text.encode(errors="surrogatepass") for text in self.texts)

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
        text = self.following(self.tokens[: self._settled()])
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

    def _settled(self) -> int:
        """How many tokens there are before a run of single bytes that may go on: it is decoded as one, and special
        tokens, which are not decoded, do not end it.
        """
        fallback, n = self.following.tokenizer.fallback, len(self.tokens)
        if fallback:
            while n and (self.tokens[n - 1] in fallback or not self._visible(self.tokens[n - 1])):
                n -= 1
        return n

    def _visible(self, token: int) -> bool:
        return bool(tail(self.following.tokenizer.surfaces, [token], 1))

    def _give(self, sure: str) -> str:
        """What is new of it. Should a decoder write anew what was given, it is said again from there: better twice than
        not at all.
        """
        if self.given.startswith(sure):
            return ""
        pairs = enumerate(zip(self.given, sure, strict=False))
        same = next((i for i, (old, new) in pairs if old != new), len(self.given))
        self.given = sure
        return sure[same:]
