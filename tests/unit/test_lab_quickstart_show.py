"""What a long run shows where there is no terminal, and on one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from didact.lab.quickstart import show
from didact.lab.quickstart.show import Shown


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_elsewhere_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 10.0, 31.0, 31.0, 62.0, 62.0])
    monkeypatch.setattr(show.time, "monotonic", lambda: next(clock))
    to = console(terminal=False)
    with Shown(to) as shown:
        shown.now("a")  # at 0 s
        shown.now("b")  # at 10 s: too soon
        shown.now("c")  # at 31 s
        shown.now("c")  # nothing new: the clock is not asked
        shown.line("[1/6] done [in] 3 s")
    assert said(to) == ["a", "c", "[1/6] done [in] 3 s"]


def test_on_a_terminal_brackets_are_text() -> None:
    to = console(terminal=True)
    with Shown(to) as shown:
        shown.now("[1/6] documents [bold]x")
        shown.line("[2/6] done")
    assert any("[2/6] done" in line for line in said(to))
