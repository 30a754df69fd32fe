"""Where a source and the text to be written after it stand among a tokenizer's special tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from didact.batch import Example
from didact.errors import InputError
from didact.tasks.forms import Array, Form
from didact.tokenization.frame import Piece
from didact.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Layout:
    """The special tokens of a tokenizer around the source (head, middle) and the target (first, end), with the segments
    of both.
    """

    head: Array
    middle: Array
    first: Array
    end: Array
    segments: tuple[int, int]

    @staticmethod
    def of(tokenizer: Tokenizer, form: Form, segment: int, border: tuple[int, ...] = ()) -> Layout:
        """Two texts of their own; the tokenizer's pair, cut where the second text begins; or, in one text that goes on
        (`causal`), what stands before one, and the border, all of it of the first segment, as what is written is. A
        target that would have no end gets the tokenizer's separator, or its end of text. Raises InputError where there
        is none.
        """
        template = tokenizer.template
        if form == "encoder_decoder":
            source = target = list(template.single)
            texts = "a", "a"
        else:
            at = [content for content, _ in template.pair].index("b")
            source, target, texts = list(template.pair[:at]), list(template.pair[at:]), ("a", "b")
        head, middle = _around(source, texts[0])
        first, end = _around(target, texts[1])
        pair = dict(template.pair)
        segments = pair["a"] + segment, pair["b"] + segment
        if form == "causal":
            middle, segments = np.array(border, np.int64), (0, 0)
        if not len(end):
            last = tokenizer.sep if tokenizer.sep is not None else tokenizer.eos
            if last is None:
                raise InputError("the tokenizer has no token that ends a text", expected="one with </s> or [SEP]")
            end = np.array([last], np.int64)
        return Layout(head, middle, first, end, segments)

    def example(self, source: Array, target: Array, prompt: str) -> Example:
        tokens = np.concatenate([self.head, source, self.middle]).astype(np.int64)
        special = np.ones(len(tokens), bool)
        special[len(self.head) : len(self.head) + len(source)] = False
        return Example(
            tokens,
            special,
            segments=np.full(len(tokens), self.segments[0]),
            targets={"target": target, "segment": self.segments[1], "prompt": prompt},
        )


def border_of(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What says that a source is over and its target begins: what stands between the texts of a pair, else the token
    that ends a text (Radford et al., 2018, §3.3 put a delimiter there), else nothing.
    """
    pair = tokenizer.template.pair
    at = [content for content, _ in pair].index("b")
    between = tuple(_around(list(pair[:at]), "a")[1].tolist())
    last = tokenizer.eos if tokenizer.eos is not None else tokenizer.sep
    return between or (() if last is None else (last,))


def _around(pieces: list[Piece], text: str) -> tuple[Array, Array]:
    """The special tokens before and after a text."""
    at = [content for content, _ in pieces].index(text)
    before, after = ([int(content) for content, _ in some] for some in (pieces[:at], pieces[at + 1 :]))
    return np.array(before, np.int64), np.array(after, np.int64)
