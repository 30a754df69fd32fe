"""The loop: micro-batches -> gradients -> steps -> validation -> checkpoints, until the budget is used up.

A step's losses are divided by the counts of all its micro-batches on all ranks, known before any of them runs: the
mean over a global batch, which is not the mean of its micro-batches' means. What a step computes depends on (seed,
step) and the weights alone, so a run that is killed and started again goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import torch

from didact.batch import Batch
from didact.data.loader import Loader
from didact.data.stream import Position, Stream
from didact.errors import InputError, Interrupted, NotANumber, Paused
from didact.randomness import key
from didact.training import policy
from didact.training.checkpoint import RunFolder
from didact.training.clipping import clip
from didact.training.flops import costs
from didact.training.keeper import Export, Keeper
from didact.training.optim import set_rate, trained
from didact.training.pace import Pace
from didact.training.parallel import processes
from didact.training.ready import Ready, get_ready
from didact.training.record import Recorder, cut_back, duration, trackers
from didact.training.settings import Result, Settings
from didact.training.signals import Signals, Stopped
from didact.training.state import Progress, read_progress
from didact.training.step import Step
from didact.training.window import Window

Evaluate = Callable[[Step], Mapping[str, float]]


def fit(
    step: Step,
    stream: Stream,
    settings: Settings,
    run: RunFolder,
    evaluate: Evaluate | None = None,
    export: Export | None = None,
) -> Result:
    """Train `step` on `stream`, or go on where `run` was left.

    evaluate(step) -> metrics by name; called without gradients, dropout off, in the run's precision, on every rank; it
    asks `step(batch)` for losses and `step(batch, logits=True)` for answers, never a model inside (FSDP).
    export(folder, models): write the models as others read them; called on rank 0 alone.
    Raises NotANumber (the last good checkpoint stands), Interrupted and Paused (saved), InputError.
    """
    plan = policy.plan(settings.device, settings.precision, settings.kernel, settings.compile)
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(processes(plan.device))
        stack.enter_context(torch.random.fork_rng([plan.device] if plan.device.type == "cuda" else []))
        stack.enter_context(_deterministic(settings.deterministic))
        if ranks.first:
            stack.enter_context(run.locked())
        latest = ranks.agree(max(run.steps(), default=None))
        progress = Progress() if latest is None else read_progress(run.at(latest) / "state")
        if ranks.first:
            cut_back(run.metrics, progress.logged)
        to = tuple(trackers(settings.trackers, run.path, progress.step)) if ranks.first else ()
        recorder = Recorder(run.metrics if ranks.first else None, settings.quiet, to)
        stack.callback(recorder.close)
        stream = replace(stream, rank=ranks.rank, ranks=ranks.size)
        ready = get_ready(step, stream, settings, plan, run, ranks, recorder.say)
        keeper = Keeper(run, ready, export, recorder, settings.keep)
        if latest is not None:
            keeper.restore(progress)
        loop = _Loop(stream, settings, evaluate, ready, recorder, keeper, progress)
        with loop.signals:
            return loop.go()


class _Loop:
    """One start of a run."""

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        evaluate: Evaluate | None,
        ready: Ready,
        recorder: Recorder,
        keeper: Keeper,
        progress: Progress,
    ) -> None:
        self.stream, self.settings, self.evaluate = stream, settings, evaluate
        self.ready, self.recorder, self.keeper = ready, recorder, keeper
        self.step, self.ranks, self.device = ready.step, ready.wrapped.ranks, ready.plan.device
        self.costs = costs(dict(self.step.models.items()))
        self.parameters = [parameter for _, parameter in trained(self.step)]
        self.progress = progress
        if progress.flops is None:
            progress.flops = self._estimated()
        self.signals = Signals()
        self.window = Window(self.ranks, progress.window)
        self.stopping = self.unsaved = False
        self.here = time.monotonic()
        self.began = self.here - progress.seconds
        self.saved = progress.seconds
        self.first_done = self._done()
        self.pace = Pace()

    def go(self) -> Result:
        """Train until the end."""
        p, s = self.progress, self.settings
        self._leave_if_paused()
        if p.step and self._done() < 1.0:
            self.recorder.say(f"going on after step {p.step} ({self._done():.1%} of the run)")
        if p.step and self._due(s.evaluate_every) and p.evaluated != p.step and self._validated():
            self._save()
        if not self._stopped():
            self.keeper.note_start(p)
        with contextlib.closing(self._batches()) as batches:
            while not self._stopped():
                self._optimize(*next(batches))
                self._look()
                improved = (self._due(s.evaluate_every) or self._stopped()) and self._validated()
                left = self._interrupted() or p.step == s.until
                if improved or self._due(s.save_every) or self._save_is_old() or left:
                    self._save()
                self._leave_if_interrupted()
                self._leave_if_paused()
        if self.evaluate is not None and p.evaluated != p.step:
            self._validated()
        if self.unsaved:
            self._save()
        self._leave_if_interrupted()
        self.ranks.exchange(None)  # no rank goes on to read a checkpoint that the first is still writing
        return self._result()

    def _batches(self) -> Generator[tuple[list[Batch], Position], None, None]:
        yield from Loader(self.stream, Position(**self.progress.position), self.settings.workers)

    def _optimize(self, batches: Sequence[Batch], position: Position) -> None:
        """One optimizer step. Nothing in it waits for an accelerator."""
        p, s, wrapped, scaler = self.progress, self.settings, self.ready.wrapped, self.ready.scaler
        counts, tokens, flops = self._share_facts(batches)
        rate = s.optimizer.learning_rate * s.schedule(self._done(), s.budget.step_share)
        set_rate(self.ready.optimizer, rate)
        self.step.settle(p.step)
        self.window.begin(p.step, counts, rate)
        for number, batch in enumerate(batches):
            # Dropout depends on where it is, not on what was drawn before: nothing to save, nothing to restore.
            torch.manual_seed(key(s.seed, p.step, number, self.ranks.rank) % 2**63)
            batch = batch.to(self.device, non_blocking=True)
            with wrapped.syncing(last=number == len(batches) - 1):
                with self.ready.plan.autocast():
                    loss = wrapped(batch)
                scaled = loss.scaled(counts)
                wrapped.backward(scaled if scaler is None else scaler.scale(scaled))
            self.window.add(loss)
        if scaler is not None:
            scaler.unscale_(self.ready.optimizer)
        self.window.end(clip(self.parameters, s.clip, self.ready.optimizer if scaler is None else None))
        if self.device.type == "cpu":  # nothing to wait for: a bad step is stopped before it moves the weights
            self._settle()
        if scaler is None:
            self.ready.optimizer.step()
        else:
            scaler.step(self.ready.optimizer)
            scaler.update()
        self.ready.optimizer.zero_grad(set_to_none=True)
        p.step, p.tokens, p.flops = p.step + 1, p.tokens + tokens, (p.flops or 0.0) + flops
        p.position, self.unsaved = asdict(position), True

    def _share_facts(self, batches: Sequence[Batch]) -> tuple[dict[str, float], int, float]:
        """Over all ranks: the counts that the step's losses are divided by, its tokens and operations; the time; who
        was asked to stop.
        """
        counts = _summed([batch.counts for batch in batches])
        tokens, flops = self._amount(batches)
        everybody = self.ranks.exchange([counts, tokens, flops, self._clock(), self.signals.caught])
        self.progress.seconds = everybody[0][3]
        self.stopping = any(stop for *_, stop in everybody)
        tokens, flops = sum(own[1] for own in everybody), sum(own[2] for own in everybody)
        self.pace.add(tokens, flops)
        return _summed([own[0] for own in everybody]), tokens, flops

    def _amount(self, batches: Sequence[Batch]) -> tuple[int, float]:
        """Real tokens of this rank's micro-batches, still on the host, and their operations."""
        flops = float(sum(cost(batch) for batch in batches for cost in self.costs))
        return sum(batch.tokens for batch in batches), flops

    def _estimated(self) -> float:
        """Operations so far, where the checkpoint does not say (one that an older version wrote): every token is taken
        to have cost what one of the run's first step does. Every rank must ask.
        """
        everybody = self.ranks.exchange(self._amount(self.stream[0]))
        tokens, flops = (sum(own[i] for own in everybody) for i in (0, 1))
        return self.progress.tokens * flops / max(1, tokens)

    def _settle(self) -> None:
        try:
            self.window.settle(strict=self.ready.scaler is None)
        except NotANumber as problem:
            advice = "a lower learning rate or a longer warm-up often helps"
            raise NotANumber(f"{problem}; {self.keeper.last_good()}; {advice}") from None

    def _look(self) -> None:
        """Write a line where one is due, and show how things stand."""
        p = self.progress
        if p.step % self.settings.log_every == 0 or self._stopped():
            self._settle()
            line = self.window.line() | self.pace.line(self.ready.plan, self.ranks.size)
            self.pace.loss = line["loss"]
            self.recorder.log(p.step, "train", {**line, "tokens": p.tokens, "seconds": round(p.seconds, 3)})
        self.recorder.show(p.step, self._done(), self._facts)

    def _facts(self) -> str:
        done = self._done()
        spent, share = time.monotonic() - self.here, done - self.first_done
        left = f" · {duration(spent * (1.0 - done) / share)} left" if share > 0 else ""
        return self.pace.facts() + left

    def _validated(self) -> bool:
        """Validate; whether the chosen metric is the best so far. Broken off by a signal, it counts as not done."""
        p, s = self.progress, self.settings
        if self.evaluate is None or self._interrupted():
            return False
        alone = self.ranks.size == 1
        self.step.eval()
        try:
            breakable = self.signals.interruptible() if alone else contextlib.nullcontext()
            with self.pace.pause(), torch.no_grad(), self.ready.plan.autocast(), breakable:
                metrics = {name: float(value) for name, value in self.evaluate(self.step).items()}
        except Stopped:
            return False
        finally:
            self.step.train()
        p.metrics, p.evaluated, self.unsaved = self.ranks.agree(metrics), p.step, True
        self.recorder.log(p.step, "validation", p.metrics)
        if not s.best:
            return False
        if s.best not in p.metrics:
            raise InputError(f"no metric {s.best!r} to choose the best by", expected=f"one of {', '.join(p.metrics)}")
        value = p.metrics[s.best]
        if math.isnan(value) or (p.best is not None and (value <= p.best if s.highest else value >= p.best)):
            p.waiting += 1
            return False
        p.best, p.best_step, p.waiting = value, p.step, 0
        return True

    def _save(self) -> None:
        with self.pace.pause():
            self._settle()
            self.keeper.save(self.progress, self.window, self._clock())
        self.saved, self.unsaved = self.progress.seconds, False

    def _result(self) -> Result:
        p = self.progress
        found = p.best is not None
        return Result(
            steps=p.step,
            tokens=p.tokens,
            flops=p.flops or 0.0,
            seconds=p.seconds,
            stopped="patience" if self._done() < 1.0 else "budget",
            metrics=p.metrics,
            best=p.best,
            best_step=p.best_step if found else None,
            last=self.keeper.run.at(p.step),
            best_folder=self.keeper.run.at(p.best_step) if found else None,
        )

    def _clock(self) -> float:
        return time.monotonic() - self.began

    def _done(self) -> float:
        return self.settings.budget.done(self.progress.step, self.progress.tokens, self.progress.seconds)

    def _stopped(self) -> bool:
        patience = self.settings.patience
        return self._done() >= 1.0 or (patience is not None and self.progress.waiting >= patience)

    def _due(self, every: int | None) -> bool:
        return every is not None and self.progress.step % every == 0

    def _save_is_old(self) -> bool:
        minutes = self.settings.save_minutes
        return minutes is not None and self.progress.seconds - self.saved >= 60.0 * minutes

    def _interrupted(self) -> bool:
        """Alone: as soon as the signal is there; among ranks: what was agreed at the step's beginning."""
        return self.stopping if self.ranks.size > 1 else self.signals.caught

    def _leave_if_interrupted(self) -> None:
        if self._interrupted():
            again = f"; go on with: {self.settings.again}" if self.settings.again else "; the same command goes on"
            raise Interrupted(f"stopped after step {self.progress.step}, saved in {self.keeper.run.path}{again}")

    def _leave_if_paused(self) -> None:
        until, step = self.settings.until, self.progress.step
        if until is not None and step >= until and not self._stopped():
            raise Paused(f"left after step {step}, as asked (until), saved in {self.keeper.run.path}")


def _summed(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for own in counts:
        for name, count in own.items():
            total[name] = total.get(name, 0.0) + count
    return total


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Only operators that repeat to the bit (CUDA; the CPU's do anyway with one number of threads)."""
    if not wanted:
        yield
        return
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
