"""The loader: a stream's steps in order, prepared ahead by worker processes where there are any.

One item is one step (or one window), so neither order nor content depends on the workers; torch's DataLoader does the
processes. Workers send numpy arrays, not tensors: tensors travel through shared memory, which containers keep small.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from didact.batch import Batch
from didact.data.stream import Item, Position, Stream
from didact.interrupts import interrupts_later


@dataclass(frozen=True)
class Loader:
    """Iterates (micro-batches of this rank's step, position after it), without end, from `start` on.

    workers: processes, 0 = prepare in this one; ahead: items that each worker prepares in advance.
    An error in a worker is raised here as it was there. Leaving the loop ends the workers.
    """

    stream: Stream
    start: Position = field(default_factory=Position)
    workers: int = 0
    ahead: int = 2

    def __iter__(self) -> Iterator[tuple[list[Batch], Position]]:
        yield from self.stream.steps(self._items(), self.start)

    def _items(self) -> Iterator[Item]:
        first = self.stream.first_item(self.start)
        if self.workers == 0:
            yield from map(self.stream.item, _Counting(first))
            return
        with warnings.catch_warnings():
            # Python 3.12 says that forking a process with threads may lock up. These workers touch none of torch's.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            # A run file that was written for a machine with more cores is no mistake.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            loader = DataLoader(
                _Items(self.stream),
                batch_size=None,
                sampler=_Counting(first),
                num_workers=self.workers,
                prefetch_factor=self.ahead,
                worker_init_fn=_ignore_interrupts,
                generator=torch.Generator(),  # of its own: drawing from torch's would change the run's dropout
            )
            with interrupts_later():
                items = iter(loader)
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item


@dataclass(frozen=True)
class _Counting(Sampler[int]):
    """first, first + 1, …"""

    first: int

    def __iter__(self) -> Iterator[int]:
        number = self.first
        while True:
            yield number
            number += 1


@dataclass(frozen=True)
class _Items(Dataset[Item | Exception]):
    """The items by number. An exception is handed over as a value: DataLoader would wrap it in another's text."""

    stream: Stream

    def __getitem__(self, index: int) -> Item | Exception:
        try:
            item = self.stream.item(index)
            return replace(item, flat=item.flat.lean())
        except Exception as error:
            error.add_note("(in a data worker)")
            return error


def _ignore_interrupts(_worker: int) -> None:
    """Ctrl-C goes to every process of the terminal; only the main one decides what it means (it may still save)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
