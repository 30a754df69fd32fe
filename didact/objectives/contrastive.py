"""Which of many texts is the other half of this one: contrastive learning of sentence embeddings (SimCSE: Gao et al.,
2021, §3 and §4; the loss is InfoNCE, van den Oord et al., 2018, eq. 4).

Who competes with whom is settled when a step is prepared: `group` consecutive examples of a step are laid side by side
as one, which no micro-batch splits and no two processes share. So eight micro-batches give the gradient of one batch,
as everywhere here. (In SimCSE's and sentence-transformers' code the negatives are whatever a device's batch holds,
which makes the loss depend on the machine.)

Shapes: t texts of a pack, a anchors, c candidates, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from didact.batch import Batch, Example, Labels, Loss, Prepared
from didact.bounds import check_positive
from didact.data.flat import Flat
from didact.data.lay import lay_prepared
from didact.data.parts import parted, side_by_side
from didact.data.ragged import cuts_of
from didact.heads import EmbeddingHead, Head, Projection
from didact.heads.base import part
from didact.heads.embedding import Pooling
from didact.objectives.base import Answering, Keys, Objective

ANCHOR, POSITIVE, NEGATIVE = 0, 1, 2


@dataclass(frozen=True)
class Contrastive(Objective):
    """Hidden: nothing. Asked: of each text, which of the other halves of its group is its own: a text read twice, with
    other dropout (the first reading is asked for the second); or the second of a pair, among the others' seconds and
    whatever third ones there are (hard negatives).

    Used by SimCSE, unsupervised and supervised. With pairs it is sentence-transformers' MultipleNegativesRankingLoss
    at scale 1 / temperature, for batches of `group`. A model needs dropout to learn from single texts.

    temperature: cosines are divided by it; group: so many consecutive examples of a step compete with each other, a
    step's last ones maybe fewer; one alone has nothing to be told from, and is not asked; pooling: of a text's rows
    into its vector; projection: whether a dense layer with tanh stands between that vector and the loss, in training
    alone (SimCSE's unsupervised form; what embeds is the vector before it); name: of its figures.
    """

    kind: ClassVar[str] = "contrastive"
    temperature: float = 0.05
    group: int = 64  # pyright: ignore[reportIncompatibleMethodOverride]
    pooling: Pooling = "cls"
    projection: bool = True
    name: str = "nce"

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        if self.group < 2:
            raise ValueError(f"group {self.group}: at least 2")

    @property
    def heads(self) -> Mapping[str, Head]:
        own: dict[str, Head] = {"embedding": EmbeddingHead(self.pooling)}
        return own | ({"projection": Projection(self.pooling)} if self.projection else {})

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def alone(self) -> bool:
        return True

    @property
    def dropout(self) -> bool:
        return True

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:  # noqa: ARG002
        return self._together([example])

    def ask(self, flat: Flat, keys: Keys) -> Flat:  # noqa: ARG002
        """A sequence of parts for every `group` examples: first all anchors, then all positives, then the negatives."""
        examples = [flat.example(i) for i in range(len(flat))]
        groups = range(0, len(examples), self.group)
        return lay_prepared([self._together(examples[start : start + self.group]) for start in groups])

    def _together(self, examples: Sequence[Example]) -> Prepared:
        each = [own * 2 if len(own) == 1 else own for own in map(parted, examples)]
        roles = np.array([role for role in (ANCHOR, POSITIVE, NEGATIVE) for own in each if len(own) > role], np.int64)
        texts = [own[role] for role in (ANCHOR, POSITIVE, NEGATIVE) for own in each if len(own) > role]
        made = side_by_side(texts)
        assert made.parts is not None
        borders = np.append(made.parts, len(made))
        rows, groups = np.arange(len(made)), borders
        if self.pooling in ("cls", "last"):  # the one row of each that is read
            rows = borders[:-1] if self.pooling == "cls" else borders[1:] - 1
            groups = cuts_of(np.ones(len(rows), np.int64))
        rivals = (roles != ANCHOR).sum() > 1
        weights = np.where((roles == ANCHOR) & rivals, 1.0, 0.0).astype(np.float32)
        head = "projection" if self.projection else "embedding"
        return Prepared(made, (Labels(head, rows, roles, groups, weights, name=self.name),))

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        (asked,) = batch.labels
        (vectors,) = models["main"](batch)
        return Loss({asked.name: part(*info_nce(vectors, asked.values, self.temperature), asked)})


def info_nce(vectors: Tensor, roles: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """vectors (t, D) of the texts of one or more groups, each group its anchors, as many positives in the same order,
    then any negatives; roles (t,) -> losses (t,), those of anchors: -log of their own positive's share of
    exp(cosine / temperature) over all candidates of their group, zeros elsewhere; right (t,) bool: whether it is the
    largest share.
    """
    unit = F.normalize(vectors.float(), dim=-1)
    first = torch.ones_like(roles, dtype=torch.bool)
    first[1:] = roles[:-1] > ANCHOR
    group = ((roles == ANCHOR) & first).cumsum(0)
    anchors, candidates = (roles == ANCHOR).nonzero()[:, 0], (roles > ANCHOR).nonzero()[:, 0]
    own = torch.searchsorted(candidates, (roles == POSITIVE).nonzero()[:, 0])
    with torch.autocast(unit.device.type, enabled=False):  # over so low a temperature, bf16 would round by whole nats
        scores = unit[anchors] @ unit[candidates].T / temperature
    scores = scores.masked_fill(group[anchors][:, None] != group[candidates][None, :], -torch.inf)
    shares = torch.log_softmax(scores, -1).gather(1, own[:, None]).squeeze(1)
    losses = unit.new_zeros(len(roles)).index_put((anchors,), -shares)
    right = torch.zeros_like(first)
    if len(anchors):
        right[anchors] = scores.detach().argmax(-1) == own
    return losses, right
