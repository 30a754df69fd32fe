"""What helps a model learn to write, beside the likelihood of the right tokens: guided attention, copying with
coverage, scheduled sampling (`objectives.guided`, `copying`, `scheduled`), as parts of one objective's loss.

Shapes: T rows of a pack, n asked rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from didact.batch import Batch, Labels, Loss, Part
from didact.heads import Gate, Head
from didact.heads.base import part
from didact.heads.cross_entropy import cross_entropy
from didact.nn.core import Hidden
from didact.objectives import copying
from didact.objectives.base import Answering
from didact.objectives.guided import guided
from didact.objectives.scheduled import reread

if TYPE_CHECKING:
    from didact.tasks.translate import Translate

GATES = ("gate_state", "gate_context", "gate_read")
"""eq. 8's terms: of the decoder's row, of what it looks at, of what it reads"""


def gates(layer: int) -> Mapping[str, Head]:
    """The three gates of copying; one bias is enough."""
    return {name: Gate(layer, bias=name == GATES[0]) for name in GATES}


@dataclass(frozen=True)
class Read:
    """What one pass makes of a batch: the encoder's rows, the decoder's, and where these look (None: not asked for)."""

    encoded: Hidden
    decoded: Hidden
    looks: tuple[Tensor, ...]

    @staticmethod
    def of(model: Answering, batch: Batch, layer: int) -> Read:
        assert batch.outputs is not None
        encoded = model.hidden(batch.inputs)
        decoded = model.decoded(batch.outputs, encoded, batch.inputs, layers=True, cross=(layer,))
        return Read(encoded, decoded, decoded.cross[layer])


def copied(model: Answering, batch: Batch, asked: Labels, read: Read, wanted: Tensor | None = None) -> Tensor:
    """log P(token) of the asked rows, writing and copying together: of every token (n, V), or of `wanted` (n,)."""
    attention = copying.looks(read.looks)
    packed = batch.inputs.packed
    sources = packed.tokens.split(packed.cu_seqlens.diff().tolist())
    rows = (read.decoded.main, copying.contexts(attention, read.encoded.main), read.decoded.layers[0])
    gate = torch.stack(
        [model.answer(Hidden({"main": own}), replace(asked, head=name)) for name, own in zip(GATES, rows, strict=True)]
    ).sum(0)
    logits = model.answer(read.decoded, asked)
    if wanted is None:
        return copying.mixed(logits, gate, copying.pointed(attention, sources, logits.shape[-1])[asked.rows])
    every = torch.zeros(len(read.decoded.main), dtype=torch.int64, device=wanted.device).index_copy(
        0, asked.rows, wanted
    )
    pointed = copying.pointed_at(attention, sources, every)[asked.rows]
    losses, _ = cross_entropy(logits, wanted)
    return copying.mixed(-losses[:, None], gate, pointed[:, None]).squeeze(1)


def losses(task: Translate, model: Answering, batch: Batch) -> Loss:
    """The likelihood of the right tokens, and what of guidance and coverage is asked for."""
    asked = batch.labels[0]
    read = Read.of(model, batch, task.looking)
    parts: dict[str, Part] = {}
    if task.copy:
        parts[asked.name] = part(-copied(model, batch, asked, read, asked.values), None, asked)
    else:
        parts[asked.name] = model.loss_at(read.decoded, asked)
    for other in batch.labels[1:]:
        if other.name == "guided":
            total, _ = guided(read.looks, task.guide, task.guide_strength)
            weight = task.guided
        else:
            total, _ = copying.coverage_loss(copying.looks(read.looks))
            weight = task.coverage
        parts[other.name] = Part(total if other.count else total * 0.0, other.count, weight)
    return Loss(parts)


@torch.no_grad()
def sampled(task: Translate, model: Answering, batch: Batch, rate: float) -> Batch:
    """The batch as it reads where a token is the right one with probability `rate`, else what the model would write,
    or copy, after the right ones.
    """
    asked = batch.labels[0]
    side = batch.outputs if asked.side == "outputs" else batch.inputs
    assert side is not None
    taken = asked.noise >= rate
    if not bool(taken.any()):
        return batch
    if task.copy:
        scores = copied(model, batch, asked, Read.of(model, batch, task.looking))
    else:
        (scores,) = model(replace(batch, labels=(asked,)))
    read = reread(side, asked.rows, scores.argmax(-1), taken)
    return replace(batch, outputs=read) if asked.side == "outputs" else replace(batch, inputs=read)
