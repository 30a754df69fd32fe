"""The stream: which examples a step is made of, as a pure function of the seed and the position.

An index order that is shuffled anew every epoch by a counter-based permutation (no list of indices, exact at any
corpus size); a step is a run of it. Two ways to say how long the run is:

    BySequences   step s takes the examples [C(s), C(s + 1)), C the sum of the batch schedule in closed form: pure in
                  (seed, step). Its sequences are dealt evenly to micro-batches of at most `micro_tokens`.
    ByTokens      the order is cut into windows of W examples, each packed alone as tightly as possible; a step is the
                  next so many packs. The position is (window, pack).

What is in a step never depends on ranks or workers; a rank takes its share of the packs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.batch import Batch, Example
from didact.data.flat import Flat
from didact.data.mixture import Listed, Mixture, Source
from didact.data.packing import deal, pack
from didact.errors import InputError
from didact.randomness import Permutation, generators, key, keys

__all__ = ["BySequences", "ByTokens", "Item", "Listed", "Mixture", "Position", "Prepare", "Source", "Stream"]

Keys = NDArray[np.uint64]
Prepare = Callable[[Sequence[Example], Keys, int], Flat]
_PACKS = 128  # of a window, unless told: what is lost to the last, part-filled one is then below half a percent


@dataclass(frozen=True)
class BySequences:
    """`batch: N sequences`. size: examples a step; warmup: stairs (until step, size) before that, increasing."""

    size: int
    warmup: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        untils = [until for until, _ in self.warmup]
        if min([self.size, *(size for _, size in self.warmup)]) < 1 or sorted(set(untils)) != untils:
            raise InputError(f"batch sizes {self.warmup} then {self.size}", expected="increasing steps, sizes above 0")

    @staticmethod
    def linear(start: int, size: int, steps: int) -> BySequences:
        """From `start` to `size` in equal stairs over `steps`."""
        if start > size:
            raise InputError(f"a warm-up from {start} to {size} sequences", expected="a rise")
        stairs = size - start
        untils = {-(-steps * (k + 1) // stairs): start + k for k in range(stairs)}  # a later, larger one wins a tie
        return BySequences(size, tuple(untils.items()))

    def before(self, step: int) -> int:
        """C(step): examples that the steps before it took."""
        taken, since = 0, 0
        for until, size in self.warmup:
            taken += max(0, min(step, until) - since) * size
            since = until
        return taken + max(0, step - since) * self.size


@dataclass(frozen=True)
class ByTokens:
    """`batch: N tokens`. tokens: a step's, over all ranks, padding of the packs included; window: examples that are
    packed together, None = as many as fill about 128 packs.
    """

    tokens: int
    window: int | None = None

    def __post_init__(self) -> None:
        if self.tokens < 1 or (self.window is not None and self.window < 1):
            raise InputError(f"a batch of {self.tokens} tokens, windows of {self.window}", expected="more than none")


@dataclass(frozen=True)
class Position:
    """Where the stream stands: the next step, and in `ByTokens` its first pack. Goes to JSON by its fields."""

    step: int = 0
    window: int = 0
    pack: int = 0


@dataclass(frozen=True)
class Item:
    """What a worker makes: sequences prepared, and packs (indices of them) in the order they are used."""

    flat: Flat
    packs: list[list[int]]


@dataclass(frozen=True)
class Stream:
    """source: of examples; prepare: an objective; batch: how much a step is; micro_tokens: the most tokens of one
    pack; rank of ranks: whose packs; max_seqlen: a bound for every batch to state, None = its longest sequence;
    duplicates: in how many ways an example is made and asked (pairs, masks), None = anew in every epoch (RoBERTa's
    dynamic masking); in epoch e it is the way of epoch e mod duplicates (BERT's static masking: its `dupe_factor`, 10).
    """

    source: Source
    prepare: Prepare
    batch: BySequences | ByTokens
    micro_tokens: int
    seed: int = 0
    rank: int = 0
    ranks: int = 1
    max_seqlen: int | None = None
    duplicates: int | None = None
    _members: tuple[Source, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        members = self.source.sources if isinstance(self.source, Mixture) else (self.source,)
        if not all(len(member) for member in members):
            raise InputError("a source without examples", expected="at least one example")
        if isinstance(self.batch, ByTokens) and self.batch.tokens % (self.micro_tokens * self.ranks):
            raise InputError(
                f"a batch of {self.batch.tokens} tokens in micro-batches of {self.micro_tokens} on {self.ranks} ranks",
                expected=f"a multiple of {self.micro_tokens * self.ranks} tokens",
            )
        object.__setattr__(self, "_members", members)

    def examples(self, numbers: NDArray[np.int64]) -> tuple[list[Example], Keys]:
        """The examples shown as number i, counted over all epochs, and the key of each one's randomness."""
        examples: list[Example] = [None] * len(numbers)  # type: ignore[list-item]
        every = np.zeros(len(numbers), np.uint64)
        for member, at, epoch, indices in self._places(numbers):
            own = keys(self.seed, member, epoch % (self.duplicates or epoch + 1), each=indices)
            every[at] = own
            for place, index, rng in zip(at.tolist(), indices.tolist(), generators(own), strict=True):
                examples[place] = self._members[member](index, rng)
        return examples, every

    def _places(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Any, int, Any]]:
        """numbers (n,) -> for every source and epoch that occurs: which of the numbers are its, and its indices."""
        if isinstance(self.source, Mixture):
            whose, place = self.source.drawn(numbers, self.seed)
        else:
            whose, place = np.zeros(len(numbers), np.int64), numbers
        for m in range(len(self._members)):
            size = len(self._members[m])
            own = np.flatnonzero(whose == m)
            epochs = place[own] // size
            for epoch in np.unique(epochs).tolist():
                at = own[epochs == epoch]
                yield m, at, epoch, Permutation(size, key(self.seed, m), epoch)(place[at] - epoch * size)

    @cached_property
    def window(self) -> int:
        """Examples of a window (`ByTokens`)."""
        assert isinstance(self.batch, ByTokens)
        return self.batch.window or max(1, round(_PACKS * self.micro_tokens / self.mean_size))

    @cached_property
    def mean_size(self) -> float:
        """Tokens of an example, over the first 256."""
        flat = self.prepare(*self.examples(np.arange(256)), 0)
        return float(flat.sizes.mean())

    def item(self, number: int) -> Item:
        """Step `number`, or window `number`: pure, and all the work there is. Same on every rank."""
        if isinstance(self.batch, BySequences):
            numbers = np.arange(self.batch.before(number), self.batch.before(number + 1))
            flat = self.prepare(*self.examples(numbers), number)
            return Item(flat, deal(flat.sizes, self.micro_tokens, self.ranks))
        step = int(number * self.window * self.mean_size // self.batch.tokens)  # about: only schedules read it
        numbers = np.arange(number * self.window, (number + 1) * self.window)
        flat = self.prepare(*self.examples(numbers), step)
        return Item(flat, pack(flat.sizes, self.micro_tokens))

    def steps(self, items: Iterator[Item], start: Position) -> Iterator[tuple[list[Batch], Position]]:
        """Items from `first_item(start)` on -> each step's micro-batches for this rank, and the position after it."""
        if isinstance(self.batch, BySequences):
            for step, item in enumerate(items, start.step):
                yield self._own(item, item.packs), Position(step + 1)
            return
        wanted = self.batch.tokens // self.micro_tokens
        step, window, first = start.step, start.window, start.pack
        waiting: list[tuple[Item, list[int]]] = []
        for item in items:
            for number in range(first, len(item.packs)):
                waiting.append((item, item.packs[number]))
                if len(waiting) == wanted:
                    step += 1
                    own = waiting[self.rank :: self.ranks]
                    after = (window, number + 1) if number + 1 < len(item.packs) else (window + 1, 0)
                    yield [it.flat.batch(p, self.max_seqlen) for it, p in own], Position(step, *after)
                    waiting = []
            window, first = window + 1, 0

    def first_item(self, start: Position) -> int:
        """The item that the step at `start` begins with."""
        return start.step if isinstance(self.batch, BySequences) else start.window

    def __getitem__(self, step: int) -> list[Batch]:
        """This rank's micro-batches of a step. `ByTokens` has to count from the start: for tests and looking in."""
        if isinstance(self.batch, BySequences):
            return next(self.steps(iter([self.item(step)]), Position(step)))[0]
        return next(islice(self.look(), step, None))

    def look(self) -> Iterator[list[Batch]]:
        """This rank's micro-batches from the start, a step at a time, made here and now: it has no end."""
        return (batches for batches, _ in self.steps(map(self.item, _numbers()), Position()))

    def _own(self, item: Item, packs: list[list[int]]) -> list[Batch]:
        own = packs[self.rank :: self.ranks]
        return [item.flat.batch(p, self.max_seqlen) if p else item.flat.idle(self.max_seqlen) for p in own]


def _numbers(start: int = 0) -> Iterator[int]:
    while True:
        yield start
        start += 1
