"""A side that works in a process of its own, with threads that wait as its users' do.

Libraries that share a process share more than its cores. Measured, GPT-2 of 6 x 384, 64 tokens after each of 8 prompts,
2 cores: didact took 640 ms, and 990 in the turns after CTranslate2, which brings another OpenMP; transformers took
1,230 ms where threads soon sleep, as `prepare_environment` has them do for didact, and 640 as it comes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from typing import Any

import torch

from didact.worker import Worker, serving

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # what `prepare_environment` sets for this process
Act = Callable[[], Any]


@contextlib.contextmanager
def apart(make: Callable[..., Act], *given: object) -> Generator[Act]:
    """make(*given), made once in a new process, whose act is carried out as often as the one here; all must be
    picklable. An error there is raised here.
    """
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    worker = Worker(__name__, "a benchmark's process", environment)

    def act() -> Any:
        worker.send(None)
        return worker.receive()

    try:
        worker.send((torch.get_num_threads(), make, given))
        yield act
    finally:
        worker.close()


def serve() -> None:
    """The life of such a process: get ready, then do the work as often as it is asked to."""

    def begin(told: tuple[int, Callable[..., Act], tuple[object, ...]]) -> Callable[[Any], object]:
        threads, make, given = told
        torch.set_num_threads(threads)
        act = make(*given)
        return lambda _: act()

    serving(begin)
