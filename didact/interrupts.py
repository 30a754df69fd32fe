"""Ctrl-C goes to every process of the terminal: to those, too, that must not end half-way."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Processes, and threads, that are begun meanwhile hear no Ctrl-C from their first moment on; this one hears it
    afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, whose new processes inherit nothing
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
