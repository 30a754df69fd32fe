"""didact.data.loader: workers change neither order nor content; their errors are the caller's; they leave with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_tools import example, same

from didact.batch import Example
from didact.data.loader import Loader
from didact.data.stream import BySequences, ByTokens, Listed, Position, Stream
from didact.errors import InputError
from didact.objectives import Masked

MASKED = Masked(mask_id=4, vocabulary=100, specials=(0, 1, 2, 3, 4))


class Wrong:
    """A source whose example 3 cannot be read."""

    def __len__(self) -> int:
        return 8

    def __call__(self, index: int, rng: np.random.Generator) -> Example:  # noqa: ARG002
        if index == 3:
            raise InputError("a bad line", file="corpus.txt", row=4, expected="a good one")
        return example(5, index)


def stream(batch: Any, **changes: Any) -> Stream:
    return Stream(Listed([example(3 + i % 11, i) for i in range(50)]), MASKED, batch, 64, seed=3, **changes)


@pytest.mark.parametrize("batch", [BySequences(12), ByTokens(128, window=20)], ids=["sequences", "tokens"])
def test_workers_change_nothing(batch: Any) -> None:
    alone = list(islice(Loader(stream(batch)), 9))
    helped = list(islice(Loader(stream(batch), workers=2), 9))
    resumed = list(islice(Loader(stream(batch), start=alone[3][1], workers=1), 5))
    for expected, found in (*zip(alone, helped, strict=True), *zip(alone[4:], resumed, strict=True)):
        assert expected[1] == found[1]
        assert all(same(a, b) for a, b in zip(expected[0], found[0], strict=True))


def test_the_generator_of_torch_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(islice(Loader(stream(BySequences(4)), workers=1), 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_comes_as_it_is(workers: int) -> None:
    loader = Loader(Stream(Wrong(), MASKED, BySequences(8), 64), workers=workers)
    with pytest.raises(InputError) as caught:
        next(iter(loader))
    assert (caught.value.file, caught.value.row, caught.value.expected) == ("corpus.txt", 4, "a good one")
    assert str(caught.value) == "corpus.txt:4: a bad line; expected a good one"


def test_leaving_the_loop_ends_the_workers() -> None:
    steps = iter(Loader(stream(BySequences(4)), workers=2))
    next(steps)
    assert len(multiprocessing.active_children()) >= 2
    del steps
    end = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_it_starts_where_it_is_told() -> None:
    own = stream(BySequences(4))
    batches, after = next(iter(Loader(own, start=Position(step=5))))
    assert after == Position(step=6)
    assert all(same(a, b) for a, b in zip(batches, own[5], strict=True))


SCRIPT = """
import signal, sys
sys.path[:0] = {path!r}
import time
from didact.data import loader
from test_data_loader import BySequences, Loader, stream
ready = loader._ignore_interrupts
def late(worker):  # the second one is still on its way when the first has answered
    time.sleep({late} * worker)
    ready(worker)
loader._ignore_interrupts = late
asked = []
steps = iter(Loader(stream(BySequences(4)), workers=2, ahead=2))
next(steps)
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
print("running", flush=True)
while not asked:
    next(steps)
for _ in range(20):  # whoever was interrupted may still finish what was begun
    next(steps)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
@pytest.mark.parametrize("late", [0.0, 1.5])
def test_an_interruption_is_for_the_main_process_alone(late: float) -> None:
    script = SCRIPT.format(path=[str(Path(__file__).parent), *sys.path], late=late)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all of them
        try:
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
