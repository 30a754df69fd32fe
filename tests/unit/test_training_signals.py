from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import didact
from didact.training.signals import Signals, Stopped


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Python's own at the beginning (a background job of a shell ignores SIGINT), and untouched at the end."""
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) is handler
    signal.signal(signal.SIGINT, found)


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


def test_a_forked_process_ends() -> None:
    """A data worker inherits the handlers, and must still be ended by SIGTERM."""
    code = (
        "import os, signal, time\n"
        "from didact.training.signals import Signals\n"
        "read, write = os.pipe()\n"
        "with Signals() as signals:\n"
        "    if not (child := os.fork()):\n"
        "        os.write(write, b'up'); time.sleep(60); os._exit(1)\n"
        "    os.read(read, 2)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM\n"
        "    assert not signals.caught\n"
    )
    root = Path(didact.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=30)
