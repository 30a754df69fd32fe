from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from didact.training.signals import Signals, Stopped


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) is handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted(number: int) -> None:
    with Signals() as signals:
        assert not signals.caught
        os.kill(os.getpid(), number)
        assert signals.caught


def test_the_second_does_what_it_does() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signals.caught


def test_what_may_be_broken_off_is() -> None:
    done = []
    with Signals() as signals:

        def work() -> None:
            with signals.interruptible():
                done.append("begun")
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("never")

        for _ in range(2):  # the second is not even begun
            with pytest.raises(Stopped):
                work()
    assert done == ["begun"]


def test_in_another_thread_nothing_is_watched() -> None:
    seen = []

    def work() -> None:
        with Signals() as signals, signals.interruptible():
            seen.append(signals.caught)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
