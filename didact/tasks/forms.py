"""The forms in which a model is asked to write a text after reading another.

    encoder_decoder   the source in the encoder; the decoder reads a start token and the target, and is asked at every
                      row for the token that it reads at the next (Vaswani et al., 2017; Raffel et al., 2020)
    causal            source and target in one sequence, every row sees what comes before it; asked of the row before
                      each target token (Radford et al., 2019, §3.7)
    prefix            the same, and the source sees itself whole (Raffel et al., 2020, §3.2.1)
    masked            as prefix, a share of the target hidden, asked of the hidden rows themselves (UniLM: Dong et al.,
                      2019, §2.5)

And of asking a decoder about the text that it reads (`twice`).

Only rows of the target are asked, in any form. Hidden, in the first three, from every row is what the target has after
the row; in `masked`, what was hidden, from all.

Shapes: L tokens of the source, n of the target.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from didact.batch import Example, Labels, Prepared
from didact.config import ModelConfig
from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer
from didact.visibility import Visibility, causal, prefix

Array = NDArray[Any]
Form = Literal["encoder_decoder", "causal", "prefix", "masked"]
HEAD = "vocabulary"


def form_of(config: ModelConfig) -> Form:
    """How a model is asked unless told: as it was pre-trained. Six segments are UniLM's, which learned from masks."""
    if config.decoder is not None:
        return "encoder_decoder"
    if config.visibility == "causal":
        return "causal"
    return "masked" if config.segments >= 6 else "prefix"


def apart(source: Example, target: Array, start: int) -> Prepared:
    """`encoder_decoder`: the decoder reads `start` and all of the target (n,) but its last token."""
    read = np.concatenate([[start], target[:-1]]).astype(np.int64) if len(target) else np.array([start], np.int64)
    special = np.zeros(len(read), bool)
    special[0] = True
    labels = Labels(HEAD, np.arange(len(target)), target, side="outputs")
    return Prepared(source, (labels,), outputs=Example(read, special), output_visibility=causal())


def twice(example: Example, asked: Labels, start: int) -> Prepared:
    """The same text on both sides, the decoder's moved one row to the right behind `start`, each part for itself (BART:
    Lewis et al., 2020, §3.1-3.3; transformers' `shift_tokens_right`). Row i of the decoder answers for token i of the
    text, of which it has read what comes before, and through the encoder all.
    """
    begins = np.zeros(1, np.int64) if example.parts is None else example.parts
    tokens, special = np.roll(example.tokens, 1), np.roll(example.special, 1)
    tokens[begins], special[begins] = start, True
    outputs = Example(tokens, special, parts=example.parts)
    return Prepared(example, (replace(asked, side="outputs"),), outputs=outputs, output_visibility=causal())


def borders(start: int, tokenizer: Tokenizer) -> tuple[int, int]:
    """The token that a decoder begins with when it reads a text again, and the one that ends a text. start: what the
    model's decoder begins with; but where the tokenizer puts a token behind the end, as mBART's puts the language, it
    begins with that one. Raises InputError where no token ends a text.
    """
    end = tokenizer.eos if tokenizer.eos is not None else tokenizer.sep
    if end is None:
        raise InputError("the tokenizer has no token that ends a text", expected="one with </s> or [SEP]")
    framed = [content for content, _ in tokenizer.template.single]
    behind = framed[-1] if end in framed else end
    return behind if isinstance(behind, int) and behind != end else start, end


def behind(source: Example, target: Array, segment: int, whole_source: bool) -> Prepared:
    """`causal` and, with `whole_source`, `prefix`: one sequence (L + n - 1,), for the last token is only asked."""
    inputs = joined(source, target[:-1], segment)
    rows = np.arange(len(target)) + len(source) - 1
    hidden = np.arange(len(inputs)) >= len(source)
    return Prepared(
        inputs, (Labels(HEAD, rows, target),), visibility=_seen(inputs, source, whole_source), hidden=hidden
    )


def blanked(
    source: Example, target: Array, segment: int, mask: int, share: float, rng: np.random.Generator
) -> Prepared:
    """`masked`: of the target (n,) floor(share · n + u) tokens, u uniform in [0, 1), at least one, become `mask`."""
    inputs = joined(source, target, segment)
    count = min(len(target), max(1, int(share * len(target) + rng.random())))
    chosen = len(source) + np.sort(rng.permutation(len(target))[:count])
    hidden = np.zeros(len(inputs), bool)
    hidden[chosen] = True
    tokens = np.where(hidden, mask, inputs.tokens)
    labels = Labels(HEAD, chosen, inputs.tokens[chosen])
    return Prepared(replace(inputs, tokens=tokens), (labels,), visibility=_seen(inputs, source, True), hidden=hidden)


def joined(source: Example, target: Array, segment: int) -> Example:
    """Source and target as one sequence; what is known of the source's characters is dropped. segment: the target's."""
    n = len(target)
    segments = None if source.segments is None else np.concatenate([source.segments, np.full(n, segment)])
    return replace(
        source,
        tokens=np.concatenate([source.tokens, target]).astype(np.int64),
        special=np.concatenate([source.special, np.zeros(n, bool)]),
        segments=segments,
        words=None,
        offsets=None,
        source_bytes=None,
        sentences=None,
    )


def _seen(inputs: Example, source: Example, whole_source: bool) -> Visibility:
    return prefix(torch.arange(len(inputs)), len(source)) if whole_source else causal()
