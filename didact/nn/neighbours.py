"""A start in which half of the heads look at a neighbour: the word before, the word after, or the ones beyond.

A masked model learns nothing from context before some head looks at the words next to the blank, and with BERT's
random table of positions it must first find out which rows are neighbours: the loss stands at what counting words
reaches, for millions of words where the model is small. Here positions are waves in columns of their own, and each
such head's q and k are turned against each other by an offset in these columns, so that it begins as a head for that
offset; everything is learned from there. The architecture is BERT's, and so are its weights' names and shapes. Where
rows see one side alone (a causal model, either half of an opposed core) all such heads look to it.

The other half are drawn as ever: they begin by looking at the whole text, and what asks about the whole of it needs
them. With four heads for -1, 1, -2, 2 the masked words stand at 4.63 nats after 0.8 M tokens and next-sentence
prediction at chance (0.52 right); with -1, 1 and two free ones 4.65, and 0.61 right. Heads come in fours so: of one or
two, none is left free. What the waves are is known where a norm has just been taken of the embeddings alone: in all
blocks of a post-norm model, whose sums are normed again, in the first of a pre-norm one (of 4 x 128 its second begins
with a tenth of its attention where it should look).

Measured (4 x 128, vocabulary 8192, sequences of 64 tokens, after 0.47 M of them, nats a masked token): 6.42 as BERT
draws them, 6.16 with sines and cosines (Vaswani et al., 2017, §3.5) in place of the random table, 5.88 with rotary
positions, 5.38 with the four heads above. After the idea of "Mimetic Initialization of Self-Attention Layers"
(Trockman & Kolter, 2023), which sets q·k and v·out near the identity.

Shapes: D width, H head width, N heads, P pairs of columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import nn

from didact.nn.block import Block
from didact.nn.embedding import Embedding
from didact.nn.position import Learned

OFFSETS = (-1, 1, None, None, -2, 2, None, None)
"""what the heads of a block look at, in turn: the offset's row minus the looking row, None = drawn as ever"""

LEFT = (-1, None, -2, None)
"""likewise, where rows see to the left alone"""

RIGHT = (1, None, 2, None)
"""likewise, to the right"""

SHARPNESS = 7.0
"""the attention logit of the row looked at, where a norm follows the embeddings; of the others about 0"""

SPREAD = 1.3
"""frequency j of P is pi · ((j + 1/2) / P) ** SPREAD: at 1 the waves meet again after 2P rows, here never quite"""


@torch.no_grad()
def start_with_neighbours(
    embedding: Embedding, blocks: Iterable[nn.Module], std: float, offsets: Sequence[int | None] = OFFSETS
) -> None:
    """Change weights that have been drawn with `std`, in place. blocks: of `nn.block`.

    Raises ValueError where there is no learned table of positions as wide as the model, no room for two columns, or no
    norm between the embeddings and the first attention.
    """
    table, words = embedding.position, embedding.table
    stack = [cast(Block, block) for block in blocks]
    attentions = [block.attention for block in stack]
    if not isinstance(table, Learned) or embedding.project is not None or words is None:
        raise ValueError("heads that start with neighbours need tables of words and positions as wide as the model")
    if isinstance(embedding.norm, nn.Identity) and isinstance(stack[0].norm_attention_in, nn.Identity):
        raise ValueError("heads that start with neighbours need a norm between embeddings and attention")
    D, H = table.weight.shape[1], attentions[0].head_width
    P = min(H // 2, D // 8)
    if P < 1:
        raise ValueError(f"heads {H} wide in a model {D} wide have no columns to start with neighbours in")
    if table.weight.is_meta:  # a model of shapes alone; torch would import its decompositions, a second of time
        return
    angle = torch.pi * ((torch.arange(P) + 0.5) / P) ** SPREAD
    rows = torch.arange(len(table.weight)) - table.offset
    words[:, : 2 * P] = 0.0
    if embedding.segment is not None:
        embedding.segment.weight[:, : 2 * P] = 0.0
    if embedding.query is not None:
        embedding.query[..., : 2 * P] = 0.0
    table.weight.zero_()
    height = std * math.sqrt(2.0) * embedding.scale  # as large as words are there
    table.weight[:, 0 : 2 * P : 2] = (rows[:, None] * angle).sin() * height
    table.weight[:, 1 : 2 * P : 2] = (rows[:, None] * angle).cos() * height
    others = 1.0 + (
        0.0 if embedding.segment is None else embedding.scale**-2
    )  # that add up in the columns without waves
    variance = (2 * P + others * (D - 2 * P)) / D  # of all columns, where that of the waves is 1
    for attention in attentions:
        scale = H**-0.5 if attention.scale is None else attention.scale
        gain = math.sqrt(SHARPNESS * variance / (2.0 * P * scale))
        q, k, _ = attention.qkv.weight.view(3, attention.heads, H, D)
        for head in range(attention.heads):
            offset = offsets[head % len(offsets)]
            if offset is not None:
                q[head, : 2 * P, : 2 * P] += gain * turn(angle * offset)
                k[head, : 2 * P, : 2 * P] += gain * torch.eye(2 * P)


def turn(angle: torch.Tensor) -> torch.Tensor:
    """angle (P,) -> (2P, 2P): takes (sin x, cos x) of each pair of columns to (sin(x + angle), cos(x + angle))."""
    cosine, sine = angle.cos(), angle.sin()
    blocks = torch.stack((torch.stack((cosine, sine), -1), torch.stack((-sine, cosine), -1)), -2)
    return torch.block_diag(*blocks)
