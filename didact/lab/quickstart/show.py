"""What a long run shows: one line that changes, on a terminal; a line now and then, elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.status import Status

SECONDS = 30.0  # between lines where there is no terminal


class Shown:
    """with Shown() as shown: shown.now("what is being done"); shown.line("what came of it")."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._status = Status("", console=self._console) if self._console.is_terminal else None
        self._last = float("-inf")
        self._said = ""

    def __enter__(self) -> Shown:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def now(self, text: str) -> None:
        """What is under way."""
        if self._status is not None:
            self._status.update(text.replace("[", r"\["))
        elif text != self._said and time.monotonic() - self._last >= SECONDS:
            self.line(text)
            self._said, self._last = text, time.monotonic()

    def line(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, soft_wrap=True)
