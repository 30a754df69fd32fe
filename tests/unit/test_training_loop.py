from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_tools import MADE, Chain, masked, quick, step_of, stream_of

from didact.data.stream import BySequences, Stream
from didact.errors import InputError, NotANumber, Paused
from didact.training import policy, ready
from didact.training.checkpoint import RunFolder
from didact.training.flops import step_flops
from didact.training.loop import fit
from didact.training.optim import AdamW
from didact.training.record import read_metrics
from didact.training.schedule import Budget, Schedule
from didact.training.settings import Result, Settings
from didact.training.state import read_progress
from didact.training.step import Step

CLOCK = {"seconds", "tokens_per_second", "memory_mib"}


def train(folder: Path, settings: Settings, step: Step | None = None, **others: Any) -> Result:
    return fit(step or step_of(MADE[0]), stream_of(MADE[0]), settings, RunFolder(folder), **others)


def lines(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    every = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == kind]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in every]


def scores(*values: float) -> Callable[[Step], Mapping[str, float]]:
    """An `evaluate` that says these, one a call."""
    left = list(values)
    return lambda _step: {"score": left.pop(0)}


def test_a_run(tmp_path: Path) -> None:
    exported: list[str] = []

    def export(folder: Path, models: Mapping[str, nn.Module]) -> None:
        exported.append(folder.name.removeprefix(".aside-"))
        assert list(models) == ["main"]

    result = train(tmp_path, quick(6, save_every=4, keep=1), export=export)
    assert (result.steps, result.stopped, result.best) == (6, "budget", None)
    assert result.tokens == sum(b.tokens for s in range(6) for b in stream_of(MADE[0])[s])
    assert exported == ["step-4", "step-6"]
    assert RunFolder(tmp_path).steps() == [6]
    assert os.readlink(tmp_path / "last") == "checkpoints/step-6"
    assert not (tmp_path / "best").exists()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]
    rates = [line["rate"] for line in lines(tmp_path)]
    assert rates == [3e-3 * Schedule("linear", 0.1)(s / 6, 1 / 6) for s in range(6)]


RISING = masked(rate=((0, 0.05), (5, 0.9)))


def rising(folder: Path, steps: int = 6, save_every: int | None = None, cut: int = 10**9) -> Result:
    """Train on batches and a rate that grow; `cut` short in a micro-batch."""
    stream = Stream(Chain(), RISING, BySequences(16, warmup=((3, 2),)), 128)
    return fit(_StopsAt(cut)(step_of(RISING)), stream, quick(steps, save_every=save_every), RunFolder(folder))


def operations(steps: range) -> float:
    """Of these steps of `rising`, by the formula."""
    stream = Stream(Chain(), RISING, BySequences(16, warmup=((3, 2),)), 128)
    return sum(step_flops(dict(step_of(RISING).models.items()), stream[step]) for step in steps)


def test_operations_are_those_of_every_step(tmp_path: Path) -> None:
    """However they are scheduled, and wherever the run was cut."""
    whole = rising(tmp_path / "whole")
    assert whole.flops == operations(range(6)) > 3 * 6 * operations(range(1))
    with pytest.raises(_Power):
        rising(tmp_path / "cut", save_every=2, cut=8)
    assert 0 < (read_progress(tmp_path / "cut" / "last" / "state").flops or 0) < whole.flops
    assert rising(tmp_path / "cut", save_every=2).flops == whole.flops
    assert rising(tmp_path / "cut", save_every=2).flops == whole.flops, "started again, nothing is added"


def test_operations_that_an_older_checkpoint_does_not_say_are_estimated(tmp_path: Path) -> None:
    """Its tokens, each as one of the first step's; what follows is counted."""
    first = rising(tmp_path, 4)
    file = tmp_path / "last" / "state" / "state.json"
    state = json.loads(file.read_text())
    assert state.pop("flops") == first.flops
    file.write_text(json.dumps(state))
    stream = Stream(Chain(), RISING, BySequences(16, warmup=((3, 2),)), 128)
    estimated = first.tokens * operations(range(1)) / sum(batch.tokens for batch in stream[0])
    assert rising(tmp_path, 4).flops == estimated == pytest.approx(first.flops, rel=0.2)
    assert rising(tmp_path, 6).flops == estimated + operations(range(4, 5)) + operations(range(5, 6))
    assert rising(tmp_path, 6).flops == estimated + operations(range(4, 5)) + operations(range(5, 6))


@pytest.mark.parametrize("wanted", [False, True])
def test_the_user_s_deterministic_mode_is_left_as_it_was(tmp_path: Path, wanted: bool) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        train(tmp_path, quick(1, deterministic=wanted))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    first = train(tmp_path, quick(4), evaluate=scores(1.0))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != "lock"}
    again = train(tmp_path, quick(4), evaluate=scores())
    assert again == first
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    train(tmp_path, quick(4))
    assert train(tmp_path, quick(6)).steps == 6
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_left_at_a_step(tmp_path: Path) -> None:
    """Saved there, left again without a step where it is started again, and at its end as if never left."""
    train(tmp_path / "whole", quick(6, log_every=2, evaluate_every=3), evaluate=scores(1.0, 2.0))
    for until, there in ((3, 3), (3, 3), (2, 3), (4, 4)):
        seen = scores(1.0) if there == 3 else scores()
        with pytest.raises(Paused, match=rf"left after step {there}, as asked \(until\), saved in"):
            train(tmp_path / "left", quick(6, log_every=2, evaluate_every=3, until=until), evaluate=seen)
        assert RunFolder(tmp_path / "left").steps()[-1] == there
    done = train(tmp_path / "left", quick(6, log_every=2, evaluate_every=3, until=6), evaluate=scores(2.0))
    assert done.steps == 6
    for kind in ("train", "validation"):
        assert lines(tmp_path / "left", kind) == lines(tmp_path / "whole", kind)
    starts = [json.loads(line) for line in (tmp_path / "left" / "starts.jsonl").read_text().splitlines()]
    assert [start["step"] for start in starts] == [0, 3, 4]
    assert all(start["threads"] == torch.get_num_threads() and start["when"] for start in starts)


def test_windows_of_the_log_go_on_too(tmp_path: Path) -> None:
    settings = quick(9, log_every=4, save_every=3)
    train(tmp_path / "whole", settings)
    stopped = _StopsAt(6)
    with pytest.raises(_Power):
        train(tmp_path / "cut", settings, stopped(step_of(MADE[0])))
    assert read_progress(tmp_path / "cut" / "last" / "state").window
    train(tmp_path / "cut", settings)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


class _Power(Exception):
    """The power went."""


class _StopsAt:
    """A step that fails in its n-th micro-batch."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, step: Step) -> Step:
        step.register_forward_pre_hook(self.count)
        return step

    def count(self, *_: Any) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise _Power


def test_the_best_is_kept(tmp_path: Path) -> None:
    settings = quick(10, evaluate_every=2, best="score", keep=1)
    result = train(tmp_path, settings, evaluate=scores(5.0, 3.0, 4.0, 3.0, 6.0))
    assert (result.best, result.best_step, result.metrics) == (3.0, 4, {"score": 6.0})
    assert os.readlink(tmp_path / "best") == "checkpoints/step-4"
    assert result.best_folder == tmp_path / "checkpoints" / "step-4"
    assert result.best_folder.exists()
    assert [line["score"] for line in lines(tmp_path, "validation")] == [5.0, 3.0, 4.0, 3.0, 6.0]


def test_patience(tmp_path: Path) -> None:
    settings = quick(100, evaluate_every=1, best="score", highest=True, patience=2)
    result = train(tmp_path, settings, evaluate=scores(0.1, 0.5, float("nan"), 0.5))
    assert (result.stopped, result.steps, result.best_step) == ("patience", 4, 2)
    assert train(tmp_path, settings, evaluate=scores()) == result, "started again, it has still stopped"


def test_the_metric_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no metric 'f1' to choose the best by; expected one of score"):
        train(tmp_path, quick(2, best="f1"), evaluate=scores(1.0))


def test_validation_is_without_dropout_and_gradients(tmp_path: Path) -> None:
    def evaluate(step: Step) -> Mapping[str, float]:
        assert not step.training
        assert not torch.is_grad_enabled()
        return {"score": 0.0}

    step = step_of(MADE[0], dropout=0.5)
    train(tmp_path, quick(2, evaluate_every=1), step, evaluate=evaluate)
    assert step.training


def test_not_a_number_keeps_the_last_good_state(tmp_path: Path) -> None:
    step = step_of(MADE[0])
    calls = []

    def poison(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 6:
            with torch.no_grad():
                step.models["main"].core.embedding.word.weight.fill_(float("inf"))  # type: ignore[union-attr]

    step.register_forward_pre_hook(poison)
    with pytest.raises(NotANumber, match=r"loss of 'mlm' is nan at step 6; the last good state is .*step-4"):
        train(tmp_path, quick(10, save_every=4), step)
    assert RunFolder(tmp_path).steps() == [4]
    assert train(tmp_path, quick(10, save_every=4)).steps == 10


def test_not_a_number_without_a_checkpoint(tmp_path: Path) -> None:
    step = step_of(MADE[0])
    with torch.no_grad():
        step.models["main"].core.embedding.word.weight.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(NotANumber, match="at step 1; there is no checkpoint yet"):
        train(tmp_path, quick(3), step)


def test_the_norm_is_clipped(tmp_path: Path) -> None:
    """What the optimizer keeps of the first step is a tenth of the gradient: by its norm, to what it was clipped."""
    first = []

    class Watched(AdamW):
        def build(self, module: nn.Module) -> torch.optim.AdamW:
            optimizer = super().build(module)
            optimizer.register_step_post_hook(
                lambda *_: first.append(
                    float(nn.utils.get_total_norm([s["exp_avg"] for s in optimizer.state.values()]))
                )
            )
            return optimizer

    train(tmp_path, quick(3, clip=0.25, optimizer=Watched(1e-3)), step_of(MADE[0], init_std=0.3))
    assert first[0] == pytest.approx(0.1 * 0.25, rel=1e-4)
    assert all(line["gradient_norm"] > 0.25 for line in lines(tmp_path)), "what is recorded is the norm before"


def test_budgets_of_tokens_and_minutes(tmp_path: Path) -> None:
    result = train(tmp_path / "tokens", quick(budget=Budget(tokens=1000)))
    assert 1000 <= result.tokens < 1000 + 16 * 20
    assert lines(tmp_path / "tokens")[-1]["rate"] < 1e-3
    begin = time.monotonic()
    result = train(tmp_path / "minutes", quick(budget=Budget(minutes=0.01)))
    assert 0.6 <= time.monotonic() - begin < 30
    assert result.seconds >= 0.6
    assert lines(tmp_path / "minutes")[-1]["rate"] < 3e-3 * 0.5


def test_random_numbers_outside_are_not_touched(tmp_path: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    step = step_of(MADE[0], dropout=0.5)
    torch.manual_seed(5)
    train(tmp_path, quick(2), step)
    assert torch.equal(torch.rand(3), wanted)


def test_dropout_is_its_seeds(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(name))
        train(tmp_path / name, quick(3, seed=seed), step_of(MADE[0], dropout=0.3))
    assert lines(tmp_path / "a") == lines(tmp_path / "b") != lines(tmp_path / "c")


def test_workers_change_nothing(tmp_path: Path) -> None:
    train(tmp_path / "none", quick(4))
    train(tmp_path / "two", quick(4, workers=2))
    assert lines(tmp_path / "none") == lines(tmp_path / "two")


def test_frozen_layers_stay(tmp_path: Path) -> None:
    step = step_of(MADE[0])
    before = {name: p.detach().clone() for name, p in step.named_parameters()}
    train(tmp_path, quick(3, optimizer=AdamW(0.01, freeze=1)), step)
    moved = {name for name, p in step.named_parameters() if not torch.equal(p, before[name])}
    assert any("blocks.1" in name for name in moved)
    assert not any("embedding" in name or "blocks.0" in name for name in moved)


def test_another_environment_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, quick(2))
    file = tmp_path / "last" / "state" / "state.json"
    file.write_text(file.read_text().replace('"threads": 1', '"threads": 7'))
    train(tmp_path, quick(4, quiet=False))
    said = capfd.readouterr().err
    assert (
        "not the environment of the checkpoint (threads 7 then, 1 now): the losses go on, but not bit for bit" in said
    )
    assert "going on after step 2 (50.0% of the run)" in said
    assert "(cpu): fp32, not compiled" in said


def test_whether_to_compile_is_settled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ready, "_expected_seconds", lambda *_: asked.append(1) or 0.0)
    for steps in (60, 61):
        train(tmp_path, quick(steps, compile="auto", log_every=100))
    assert len(asked) == 1
    assert (tmp_path / "settled.json").read_text().split() == ["{", '"compiled":', "false", "}"]


@pytest.mark.parametrize("budget", [Budget(steps=400), Budget(tokens=10**6), Budget(minutes=7)], ids=str)
def test_how_long_a_run_will_be_is_found_without_a_trace(budget: Budget) -> None:
    step = step_of(MADE[0])
    before = {name: p.detach().clone() for name, p in step.named_parameters()}
    settings = quick(budget=budget)
    from didact.training.policy import plan

    seconds = ready._expected_seconds(step, stream_of(MADE[0]), settings, plan("cpu", compile="off"))
    assert seconds == 420 if budget.minutes else seconds > 0.1
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in step.named_parameters())


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="log_every is 0"):
        quick(log_every=0)
    with pytest.raises(ValueError, match="patience needs `best`"):
        quick(patience=3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision(precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast, and for fp16 scaled gradients, whose scale is part of the state."""
    plan = policy.Plan(torch.device("cpu"), precision, "auto", "off", "as on a GPU")
    monkeypatch.setattr(policy, "plan", lambda *_: plan)
    settings = quick(6, save_every=3)
    train(tmp_path / "whole", settings)
    with pytest.raises(_Power):
        train(tmp_path / "cut", settings, _StopsAt(4)(step_of(MADE[0])))
    train(tmp_path / "cut", settings)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    scaler = read_progress(tmp_path / "cut" / "last" / "state").scaler
    assert (scaler is not None) == (precision == "fp16")
    losses = [line["loss"] for line in lines(tmp_path / "whole")]
    monkeypatch.undo()
    train(tmp_path / "exact", settings)
    assert losses == pytest.approx([line["loss"] for line in lines(tmp_path / "exact")], rel=0.02)


def test_a_scale_that_is_too_large_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overflowing step is passed over, and is no reason to stop."""
    plan = policy.Plan(torch.device("cpu"), "fp16", "auto", "off", "as on a GPU")
    monkeypatch.setattr(policy, "plan", lambda *_: plan)
    monkeypatch.setattr(ready.torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**24))
    train(tmp_path, quick(16))
    found = lines(tmp_path)
    assert found[0]["gradient_norm"] is None
    assert math.isfinite(found[-1]["gradient_norm"])
    scaler = read_progress(tmp_path / "last" / "state").scaler
    assert scaler is not None
    assert scaler["scale"] < 2.0**24
