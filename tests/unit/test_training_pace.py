from __future__ import annotations

from typing import Any

import pytest

from didact.training import pace, policy
from didact.training.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace, "quick_peak", lambda *_: 1000.0)
    return now


def test_pauses_do_not_count(clock: list[float]) -> None:
    own = Pace()
    own.add(tokens=300, flops=0.0)
    clock[0] += 2
    with own.pause():
        clock[0] += 100
    clock[0] += 1
    line = own.line(policy.plan("cpu"), ranks=1)
    assert line["tokens_per_second"] == 100.0
    assert line["memory_mib"] > 10
    assert "mfu" not in line


def test_mfu_of_a_run_that_is_worth_it(clock: list[float]) -> None:
    plan: Any = policy.plan("cpu")
    own = Pace()
    for seconds, wanted in ((10, None), (15, 0.4), (10, 0.6)):
        clock[0] += seconds
        own.add(tokens=10, flops=seconds * 1000 * 2 * (wanted or 1.0))
        assert own.line(plan, ranks=2).get("mfu") == wanted
    own.loss = 1.25
    assert own.facts() == "loss 1.250 · 1 tokens/s · MFU 60%"


def test_facts_before_the_first_line(clock: list[float]) -> None:
    own = Pace()
    own.add(tokens=5000, flops=0.0)
    clock[0] += 1
    assert own.facts() == "5,000 tokens/s"
