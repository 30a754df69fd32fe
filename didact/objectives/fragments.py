"""Runs of tokens as encoder-decoders hide them: T5's spans (Raffel et al., 2020, §3.1.4 and §3.3.4), MASS's fragment
(Song et al., 2019, §3.1), and the end of a text (prefix language modelling: Liu et al., 2018; Raffel et al., 2020,
§3.2.3).

Runs are of tokens that may be chosen: a special token within one is left where it is and ends nothing.

Shapes: n sequences, c tokens of them all that may be chosen, S runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.bounds import check_numbers
from didact.data.flat import Flat
from didact.data.ragged import cuts_of, ragged
from didact.objectives.select import Chosen, Select, budget_of, choosable, smallest
from didact.randomness import runs, unit, words

Array = NDArray[Any]
Keys = NDArray[np.uint64]
_HIDDEN, _KEPT, _WHERE = np.uint64(0x7A51), np.uint64(0x7A52), np.uint64(0x7A53)  # what a draw is for


@dataclass(frozen=True)
class Segments(Select):
    """Spans of `mean` tokens, as google-research/text-to-text-transfer-transformer draws them (preprocessors.py,
    `random_spans_noise_mask`).

    Of c tokens round(rate · c) are hidden, at least one and all but one at most, in round(hidden / mean) spans, at
    least one: two numbers without chance. Hidden and kept tokens are each cut into that many pieces, all ways of
    cutting being equally likely, and pieces of the two alternate: a text begins with kept tokens and ends with hidden
    ones. (Where there are fewer kept tokens than spans, there are as many spans as those; the one token of a text of
    one is hidden; there the published code has no answer, or hides nothing.) mean: tokens of a span; a large one makes
    one span of the end of the text (UL2's sequential denoiser).
    """

    kind: ClassVar[str] = "segments"
    together: ClassVar[bool] = True
    even: ClassVar[bool] = False
    mean: float = 3.0

    def __post_init__(self) -> None:
        check_numbers(1, mean=self.mean)

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        rows, owner, cuts = choosable(flat)
        counts = np.diff(cuts)
        hidden, spans = self.planned(counts, rate)
        lengths = np.empty(2 * int(spans.sum()), np.int64)
        lengths[0::2] = _cut(counts - hidden, spans, keys ^ _KEPT)
        lengths[1::2] = _cut(hidden, spans, keys ^ _HIDDEN)
        taken = (np.arange(len(lengths)) % 2 > 0).repeat(lengths)
        number = np.arange(int(spans.sum())) - cuts_of(spans)[:-1].repeat(spans)
        return Chosen(rows[taken], owner[taken], number.repeat(lengths[1::2]))

    def planned(self, counts: Array, rate: float) -> tuple[Array, Array]:
        """(n,) tokens to be hidden of `counts` (n,), and (n,) spans that they are to be in."""
        hidden = np.rint(rate * counts).astype(np.int64)
        hidden = np.minimum(np.clip(hidden, 1, np.maximum(counts - 1, 1)), counts)
        spans = np.rint(hidden / self.mean).astype(np.int64)
        return hidden, np.minimum(np.clip(spans, 1, np.maximum(counts - hidden, 1)), hidden)

    def most_runs(self, count: int, rate: float) -> int:
        return int(self.planned(np.array([count]), rate)[1][0])


def _cut(items: Array, pieces: Array, keys: Keys) -> Array:
    """(S,) lengths of pieces[i] (n,) pieces, end to end, into which items[i] (n,) are cut; none is empty where there
    are as many items as pieces.
    """
    borders = np.maximum(items - 1, 0)
    at = cuts_of(borders)
    wanted = np.minimum(np.maximum(pieces - 1, 0), borders)
    drawn = smallest(runs(keys, borders), at, wanted, borders)
    begins = np.zeros(int(pieces.sum()), np.int64)
    first = cuts_of(pieces)
    inner = np.ones(len(begins), bool)
    inner[first[:-1][pieces > 0]] = False
    begins[inner] = 1 + drawn - at[:-1].repeat(wanted)
    ends = np.append(begins[1:], 0)
    ends[first[1:][pieces > 0] - 1] = items[pieces > 0]
    return ends - begins


@dataclass(frozen=True)
class Fragment(Select):
    """One run of tokens, `rate` of the text long (half of it in MASS).

    edges: the share of texts of which it is the beginning, and as large a share of which it is the end; elsewhere it
    begins anywhere (0.2 each in microsoft/MASS, masked_language_pair_dataset.py, `mask_start`; the paper says nothing
    of it); block: texts are cut into blocks of so many tokens with a fragment each, none = one of the whole text (64
    for MASS's summarization, with edges 0: masked_dataset.py).
    """

    kind: ClassVar[str] = "fragment"
    even: ClassVar[bool] = False
    edges: float = 0.2
    block: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.edges <= 0.5:
            raise ValueError(f"edges {self.edges}: two such shares are at most 1")
        if self.block is not None and self.block < 2:
            raise ValueError(f"block {self.block}: at least 2 tokens")

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        rows, _, cuts = choosable(flat)
        counts = np.diff(cuts)
        size = int(counts.max(initial=1)) if self.block is None else self.block
        blocks = -(-counts // size)
        owner, first = np.arange(len(flat)).repeat(blocks), cuts_of(blocks)
        number = np.arange(len(owner)) - first[owner]
        begins = cuts[owner] + number * size
        sizes = np.minimum(size, cuts[owner + 1] - begins)
        own = keys[owner] ^ _WHERE
        lengths = budget_of(sizes, rate, words(own, 2 * number))
        draw = unit(words(own, 2 * number + 1))
        room = sizes - lengths
        inside = (draw - 2 * self.edges) / max(1.0 - 2 * self.edges, 1e-9)
        begin = np.where(draw < self.edges, 0, np.where(inside < 0.0, room, np.floor(inside * (room + 1)))).astype(int)
        return Chosen(rows[ragged(begins + begin, lengths)], owner.repeat(lengths), number.repeat(lengths))

    def most_runs(self, count: int, rate: float) -> int:  # noqa: ARG002
        return 1 if self.block is None else -(-count // self.block)


@dataclass(frozen=True)
class Suffix(Select):
    """The end of a text: what is left to be written once a prefix has been read.

    drawn: how much of it, from one token to all but one, whatever the rate, each as likely
    (google-research/text-to-text-transfer-transformer, `random_prefix_noise_mask`); else the share that the rate says.
    """

    kind: ClassVar[str] = "suffix"
    even: ClassVar[bool] = False
    drawn: bool = True

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        rows, _, cuts = choosable(flat)
        counts = np.diff(cuts)
        lengths = budget_of(counts, rate, keys)
        if self.drawn:
            most = np.maximum(counts - 1, 1)
            lengths = np.minimum(1 + (unit(words(keys ^ _WHERE, 0)) * most).astype(np.int64), counts)
        owner = np.arange(len(flat)).repeat(lengths)
        return Chosen(rows[ragged(cuts[1:] - lengths, lengths)], owner, np.zeros(len(owner), np.int64))

    def most_runs(self, count: int, rate: float) -> int:  # noqa: ARG002
        return 1
