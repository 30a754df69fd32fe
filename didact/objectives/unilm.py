"""Unified language modelling (Dong et al., 2019, §2.3–2.4): one set of weights, masked words under four visibilities.

    bidirectional   everybody sees everybody                           a third of the examples     segments 0, 1
    left_to_right   a row sees itself and what comes before it         a sixth                     segment  2
    right_to_left   a row sees itself and what comes after it          a sixth                     segment  3
    seq2seq         the first segment sees itself, the second sees     a third                     segments 4, 5
                    the first, itself and what comes before it

The paper tells the model which it is by the segment embeddings, "different for different LM objectives" (§2.2); the
numbers are those of its code (microsoft/unilm, unilm-v1/src/biunilm/seq2seq_loader.py, `new_segment_ids`).

Shapes: n sequences, N tokens of them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from didact.batch import Batch, Example, Labels, Loss, Prepared
from didact.data.flat import Asked, Flat
from didact.data.ragged import cuts_of
from didact.heads import Head, PairRelation, Vocabulary
from didact.objectives.base import Answering, Keys, Objective, alone
from didact.objectives.masked import Masked, Rate
from didact.objectives.related import check_first
from didact.objectives.select import Select, Tokens
from didact.randomness import words
from didact.tokenization.tokenizer import Tokenizer
from didact.visibility import Visibility, ranked

Array = NDArray[Any]
MODES = ("bidirectional", "left_to_right", "right_to_left", "seq2seq")
SEGMENTS = 6
_FIRST = np.array([0, 2, 3, 4])  # the segment id of a mode's first segment
_SECOND = np.array([1, 2, 3, 5])  # and of its second
_MODE, _MASKS = np.uint64(0xB1D1), np.uint64(0x3A5C)  # what a draw is for, mixed into its key


def segments_of(mode: str) -> tuple[int, int]:
    """The segment ids of a mode's first and second segment."""
    at = MODES.index(mode)
    return int(_FIRST[at]), int(_SECOND[at])


@dataclass(frozen=True)
class UniLM(Objective):
    """Hidden: a share of the tokens, as in `masked`, of both segments whatever the visibility. Asked: what stood there,
    of the rows as they see each other; and of [CLS], in bidirectional examples alone, whether the second segment
    follows the first.

    Each example is read in one of four ways (see above), drawn by its own key. A pair whose second segment comes from
    another document can only be bidirectional, so that the document format is asked for so many of them that half of
    the bidirectional ones are such; a single segment (a document of one sentence) has no second to write: where it
    would have been sequence to sequence it is read in the first way that has a share, and where that is the only one,
    as a source that nothing follows. Each part's loss is the mean over its own answers times its share: what a mean
    over batches of one kind each, in these shares, comes to in the long run (the paper's way).
    Used by UniLM. With shares [1, 0, 0, 0] it is BERT's objective; with [0, 1, 0, 0] each word is still asked at its
    own, masked place, unlike in `causal`.

    mask_id, vocabulary (its size), specials: token ids, known when the objective is built for a tokenizer. shares: of
    the four in their order, adding up to 1; next_sentence: whether [CLS] is asked; rate, select, mask, random: as of
    `masked` (the paper hides a pair or a triple of tokens one time in five).
    """

    kind: ClassVar[str] = "unilm"
    mask_id: int
    vocabulary: int
    specials: tuple[int, ...]
    shares: tuple[float, float, float, float] = (1 / 3, 1 / 6, 1 / 6, 1 / 3)
    next_sentence: bool = True
    rate: Rate = 0.15
    mask: float = 0.8
    random: float = 0.1
    select: Select = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        if not all(share >= 0 for share in self.shares) or not abs(sum(self.shares) - 1) <= 1e-3:
            raise ValueError(f"shares {self.shares}: four that add up to 1")
        self._masked()  # which checks the rest

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary()} | ({"pair_relation": PairRelation()} if self.relation else {})

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.rated, "nsp") if self.relation else self.rated

    @property
    def rated(self) -> tuple[str, ...]:
        return tuple(name for name, share in zip(MODES, self.shares, strict=True) if share)

    @property
    def relation(self) -> Literal["next"] | None:
        return "next" if self.next_sentence and self.shares[0] else None

    @property
    def unrelated(self) -> float:
        return self.shares[0] / 2

    @property
    def segment_ids(self) -> int:
        return SEGMENTS

    @property
    def weights(self) -> Mapping[str, float]:
        """Of each of `names` in the sum."""
        own = {name: share for name, share in zip(MODES, self.shares, strict=True) if share}
        return own | ({"nsp": self.shares[0]} if self.relation else {})

    @property
    def ranked(self) -> bool:
        return True

    @property
    def paired(self) -> bool:
        return self.shares[3] > 0

    def at(self, step: int) -> UniLM:
        return replace(self, rate=self._masked().at(step).rate)

    def at_rate(self, rate: float) -> UniLM:
        return replace(self, rate=rate)

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)
        if self.relation:
            check_first(self.kind, tokenizer)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        second = np.zeros(len(flat.tokens), bool) if flat.segments is None else flat.segments > 0
        within = np.concatenate([[0], second.cumsum()])[flat.cuts]
        source = flat.lengths - np.diff(within)  # rows of each sequence's first segment
        mode = self._modes(flat, source < flat.lengths, keys ^ _MODE)
        done = self._masked().ask(replace(flat, labels=(), hidden=None), keys ^ _MASKS)
        each = mode.repeat(flat.lengths)
        labels = [_only(done.labels[0], mode == i, MODES[i]) for i, share in enumerate(self.shares) if share]
        if self.relation:
            labels.append(self._related(flat, mode == 0))
        return flat.then(
            replace(
                done,
                segments=np.where(second, _SECOND[each], _FIRST[each]),
                labels=tuple(labels),
                visibility=_visibility(flat, mode, source),
            )
        )

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        parts = Objective.loss(self, models, batch).parts
        return Loss({name: replace(part, weight=self.weights[name]) for name, part in parts.items()})

    def _masked(self) -> Masked:
        return Masked(self.mask_id, self.vocabulary, self.specials, self.rate, self.mask, self.random, self.select)

    def _modes(self, flat: Flat, paired: Array, keys: Keys) -> Array:
        """(n,): each sequence's mode. Of pairs that follow each other fewer are bidirectional, since those that do not
        all are.
        """
        shares = np.tile(np.array(self.shares) / sum(self.shares), (len(flat), 1))
        relations = _relations(flat)
        if self.relation:
            follows, elsewhere = (relations == 0)[:, None], (relations == 1)[:, None]
            fewer = shares - np.array([self.unrelated, 0, 0, 0])
            shares = np.where(follows, fewer / fewer.sum(1, keepdims=True), shares)
            shares = np.where(elsewhere, np.eye(4)[0], shares)
        drawn = (words(keys, 0) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        mode = np.minimum((drawn[:, None] >= shares.cumsum(1)).sum(1), 3)
        return np.where((mode == 3) & ~paired, int(np.argmax(np.array(self.shares) > 0)), mode)

    def _related(self, flat: Flat, asked: Array) -> Asked:
        """The relation, asked of the first row of these sequences where it is known."""
        relations = _relations(flat)
        asked = asked & (relations >= 0)
        rows = np.zeros(int(asked.sum()), np.int64)
        return Asked(Labels("pair_relation", rows, relations[asked], name="nsp"), cuts_of(asked.astype(np.int64)))


def _relations(flat: Flat) -> Array:
    return np.array([example.targets.get("relation", -1) for example in flat.examples], np.int64)


def _only(asked: Asked, sequences: Array, name: str) -> Asked:
    """The same questions, of some sequences (n,) bool alone."""
    counts = np.diff(asked.cuts)
    kept = sequences.repeat(counts)
    labels = Labels(asked.labels.head, asked.labels.rows[kept], asked.labels.values[kept], name=name)
    source_bytes = None if asked.source_bytes is None else asked.source_bytes[kept]
    return Asked(labels, cuts_of(np.where(sequences, counts, 0)), source_bytes=source_bytes)


def _visibility(flat: Flat, mode: Array, source: Array) -> tuple[Visibility, ...]:
    """One each; all by rank, so that a pack of any mixture is of one kind."""
    starts, lengths = flat.cuts[:-1], flat.lengths
    position = np.arange(len(flat.tokens)) - starts.repeat(lengths)
    after = np.maximum(position - source.repeat(lengths) + 1, 0)
    rank = np.choose(mode.repeat(lengths), [np.zeros_like(position), position, -position, after])
    return tuple(ranked(part, part) for part in torch.from_numpy(rank).split(lengths.tolist()))
