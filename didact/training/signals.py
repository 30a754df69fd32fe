"""Ctrl-C, and the system's wish that a process end: finish the step, save, then stop.

The first signal is noted; a second one does what it always does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Stopped(BaseException):
    """Raised inside `interruptible` where a signal comes: like KeyboardInterrupt, not for `except Exception`."""


class Signals:
    """Watches SIGINT and SIGTERM while entered. Outside the main thread nothing is watched: Python allows no more."""

    def __init__(self) -> None:
        self.caught = False
        self._open = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """What runs in here may be broken off: a signal raises `Stopped` in it (one that came before, too)."""
        if self.caught:
            raise Stopped
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data worker, forked with these handlers: the signal means what it says
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.caught = True
        self._restore()
        if self._open:
            raise Stopped

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
