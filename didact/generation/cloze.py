"""What an encoder-decoder says of given words in the middle of a text, asked as it was pre-trained: the encoder reads
the text without them, the decoder writes them.

    span     T5 (Raffel et al., 2020, §3.1.4): a sentinel stands for the blank, and the decoder writes the sentinel and
             what belongs there
    whole    BART (Lewis et al., 2020, §2.2, text infilling): one mask stands for the blank, however long it is, and the
             decoder writes the whole text

             encoder            decoder reads                  asked
    span     It was <0> .       start <0>  ve ry               ve ry bad
    whole    It was <mask> .    start It was  ve ry            ve ry bad

Neither is told how long the answer is, and the end of the blank is not asked.

Shapes: m tokens of a blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from didact.errors import InputError
from didact.generation.asking import Progress, voice
from didact.generation.conditional import Written, score_written
from didact.generation.masked import Blank, Laid, lay_blanks
from didact.generation.score import Scored
from didact.model import Pretrained
from didact.tokenization.tokenizer import Tokenizer

Cloze = Literal["span", "whole"]


def fill_spans(
    pretrained: Pretrained,
    blanks: Sequence[Blank],
    form: Cloze,
    *,
    special: bool = False,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> list[Scored]:
    """How likely the model finds what stands in each blank, in order; joint probabilities, by the chain rule. special:
    names of special tokens in the texts stand for them.

    A text too long for the model loses its beginning, then its end, never a part of what is asked. Raises InputError
    for a model without a decoder, a tokenizer without the token that stands for a blank, and a blank without a piece or
    longer than the model takes.
    """
    speaker, _ = voice(pretrained)
    decoder, tokenizer = speaker.model.config.decoder, speaker.tokenizer
    if decoder is None:
        raise InputError("this model has no decoder", expected="an encoder-decoder")
    hole = hole_of(tokenizer, form)
    laid = lay_blanks(tokenizer, blanks, speaker.maximum, special)
    tasks = [_written(own, form, hole, decoder.start) for own in laid]
    return score_written(pretrained, tasks, batch_tokens, progress)


def hole_of(tokenizer: Tokenizer, form: Cloze) -> int:
    """The token that stands for a blank. Raises InputError where there is none."""
    if form == "span":
        if not tokenizer.sentinels:
            raise InputError("the tokenizer has no sentinels", expected="one with <extra_id_0>, or another way to ask")
        return tokenizer.sentinels[0]
    if tokenizer.mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK] or <mask>, or another way to ask")
    return tokenizer.mask


def _written(own: Laid, form: Cloze, hole: int, start: int) -> Written:
    text, rows = own.tokens.tolist(), own.rows
    first, end = int(rows[0]), int(rows[-1]) + 1
    source = (*text[:first], hole, *text[end:])
    if form == "span":
        return Written(
            source, (start, hole, *text[first : end - 1]), np.arange(1, 1 + end - first), own.tokens[rows], own.cut
        )
    # Row i has read the start and i tokens, and is asked for token i.
    return Written(source, (start, *text[: end - 1]), rows, own.tokens[rows], own.cut)
