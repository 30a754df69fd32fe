from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR
from transformers import get_inverse_sqrt_schedule

from didact.training.schedule import KINDS, Budget, Schedule

N = 40


def rates(schedule: Schedule, n: int = N) -> list[float]:
    return [schedule(s / n, 1 / n) for s in range(n)]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 4, 20])
def test_equals_torch_after_warm_up(kind: str, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    falls = {
        "linear": lambda: LinearLR(optimizer, 1.0, 0.0, total_iters=N - warmup),
        "cosine": lambda: CosineAnnealingLR(optimizer, T_max=N - warmup),
    }[kind]()
    wanted = [(s + 1) / warmup for s in range(warmup)]
    for _ in range(N - warmup):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        falls.step()
    # The last warm-up step, (s + 1) / w = 1, is the peak.
    assert rates(Schedule(kind, warmup / N)) == pytest.approx(wanted, abs=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_starts_peaks_and_ends(kind: str, floor: float) -> None:
    schedule = Schedule(kind, warmup=0.25, decay=0.25, floor=floor)  # type: ignore[arg-type]
    values = rates(schedule)
    assert 0 < values[0] < values[5] < values[9] == max(values) == 1.0
    ends = {"constant": 1.0, "inverse_sqrt": 0.5}.get(kind, floor)  # four times as far as the peak
    assert schedule(1.0) == pytest.approx(ends)
    assert all(a >= b for a, b in itertools.pairwise(values[10:]))


@pytest.mark.parametrize("warmup", [1, 4, 20])
def test_inverse_sqrt_is_that_of_transformers(warmup: int) -> None:
    """Whose rate is 0 in the first step: it is a step behind."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    falls = get_inverse_sqrt_schedule(optimizer, warmup)
    wanted = []
    for _ in range(N):
        optimizer.step()
        falls.step()
        wanted.append(optimizer.param_groups[0]["lr"])
    assert rates(Schedule("inverse_sqrt", warmup / N)) == pytest.approx(wanted, abs=1e-6)
    assert min(rates(Schedule("inverse_sqrt", 1 / N, floor=0.5))) == 0.5
    with pytest.raises(ValueError, match="a warmup above 0"):
        Schedule("inverse_sqrt", 0.0)


def test_wsd_is_one_minus_root() -> None:
    schedule = Schedule("wsd", warmup=0.0, decay=0.2)
    assert schedule(0.5) == schedule(0.8) == 1.0
    for share in (0.25, 0.5, 0.81):
        assert schedule(0.8 + 0.2 * share) == pytest.approx(1 - math.sqrt(share))


def test_depends_on_the_share_alone() -> None:
    """A run in minutes decays as one in steps."""
    schedule = Schedule("cosine", 0.1)
    steps, minutes = Budget(steps=100), Budget(minutes=5)
    assert schedule(steps.done(60, 0, 0.0)) == schedule(minutes.done(7, 0, 180.0))


@pytest.mark.parametrize(
    ("budget", "used", "share"),
    [
        (Budget(steps=10), (5, 999, 999.0), 0.5),
        (Budget(tokens=1000), (5, 250, 999.0), 0.25),
        (Budget(minutes=2), (5, 250, 30.0), 0.25),
        (Budget(steps=10, minutes=2), (1, 0, 60.0), 0.5),
        (Budget(steps=10), (12, 0, 0.0), 1.0),
    ],
)
def test_budget(budget: Budget, used: tuple[int, int, float], share: float) -> None:
    assert budget.done(*used) == share


@pytest.mark.parametrize(
    "wrong", [{"kind": "step"}, {"warmup": 1.0}, {"warmup": -0.1}, {"decay": 0.0}, {"floor": 2.0}], ids=str
)
def test_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|shares"):
        Schedule(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{}, {"steps": 0}, {"minutes": -1.0}], ids=str)
def test_refuses_a_budget(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(**wrong)  # type: ignore[arg-type]
