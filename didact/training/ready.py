"""Everything a loop needs before its first step: device, precision, compilation, wrapper, optimizer."""

from __future__ import annotations

import copy
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from didact.data.stream import Stream
from didact.errors import InputError
from didact.model import Model
from didact.training import policy
from didact.training.checkpoint import RunFolder
from didact.training.parallel import Ranks, Wrapped, whole, wrap
from didact.training.policy import Plan
from didact.training.rows import sparse_tables
from didact.training.settings import Settings
from didact.training.state import weights
from didact.training.step import Step

SHORT = 50  # steps below which no run is worth compiling


@dataclass(frozen=True)
class Ready:
    """plan: how it computes, and whether `compiled`; wrapped: the step as it is called; twin: of a sharded step, whole
    and on the host, for export (rank 0 alone).
    """

    plan: Plan
    compiled: bool
    wrapped: Wrapped
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    twin: Step | None

    @property
    def step(self) -> Step:
        return self.wrapped.step

    @torch.no_grad()
    def models(self) -> Mapping[str, nn.Module]:
        """The models as one whole, to be exported. Every rank must ask."""
        if self.wrapped.how != "fsdp":
            return dict(self.step.models.items())
        places = {} if self.twin is None else dict(weights(self.twin))
        for name, tensor in weights(self.step):
            together = whole(tensor.detach())
            if name in places:
                places[name].copy_(together)
        return {} if self.twin is None else dict(self.twin.models.items())

    def environment(self) -> dict[str, Any]:
        """What the last bit of a loss depends on besides the run file."""
        device = self.plan.device
        return {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {_processor()}",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "ranks": self.wrapped.ranks.size,
            "precision": self.plan.precision,
            "compiled": self.compiled,
        }


def get_ready(
    step: Step, stream: Stream, settings: Settings, plan: Plan, run: RunFolder, ranks: Ranks, say: Callable[[str], None]
) -> Ready:
    """Freeze, move, compile and wrap the step in place, and build its optimizer. Every rank calls it."""
    try:
        settings.optimizer.frozen(step)
    except ValueError as problem:
        raise InputError(str(problem)) from None
    twin = copy.deepcopy(step) if settings.parallel == "fsdp" and ranks.size > 1 and ranks.first else None
    step.to(plan.device)
    step.train()
    stacks = [stack for model in step.models.values() if isinstance(model, Model) for stack in model.stacks]
    for stack in stacks:
        stack.kernel = None if plan.kernel == "auto" else plan.kernel
    regions = any(stack.regions for stack in stacks)
    if plan.compile == "on" and not regions:
        raise InputError("compile is on, and nothing of this model is compiled", expected="compile: auto or off")
    compiled = bool(ranks.agree(ranks.first and regions and _compiles(step, stream, settings, plan, run)))
    if compiled:
        from didact.nn.compiled import compile_blocks

        for stack in stacks:
            compile_blocks(stack)
    say(plan.line if plan.compile != "auto" else f"{plan.line}: {'it is' if compiled else 'it is not'}")
    wrapped = wrap(step, settings.parallel, ranks, plan.device)
    scaler = torch.amp.GradScaler(plan.device.type) if plan.scaled else None
    if scaler is not None and wrapped.how == "fsdp":
        raise InputError("precision fp16 with parallel fsdp", expected="bf16, fp32 or parallel: ddp")
    if plan.device.type == "cpu" and ranks.size == 1 and scaler is None:
        sparse_tables(step)
    return Ready(plan, compiled, wrapped, settings.optimizer.build(step), scaler, twin)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of the environment is not as it was when a checkpoint was written, in one line; "" where all is."""
    different = [f"{name} {before.get(name)} then, {now[name]} now" for name in now if before.get(name) != now[name]]
    if not different:
        return ""
    return f"not the environment of the checkpoint ({'; '.join(different)}): the losses go on, but not bit for bit"


def _compiles(step: Step, stream: Stream, settings: Settings, plan: Plan, run: RunFolder) -> bool:
    """Whether this run is compiled: what is settled, or, once and for the whole run, by how long it will last."""
    if plan.compile != "auto":
        return plan.compile == "on"
    return bool(run.decide("compiled", lambda: policy.pays(_expected_seconds(step, stream, settings, plan))))


def _expected_seconds(step: Step, stream: Stream, settings: Settings, plan: Plan) -> float:
    """How long the run lasts uncompiled, by the first micro-batch. Leaves no trace in the step."""
    budget = settings.budget
    limits = [] if budget.minutes is None else [60.0 * budget.minutes]
    if budget.steps is not None and budget.steps < SHORT:
        return 0.0
    if budget.steps is not None or budget.tokens is not None:
        batches = stream[0]
        batch = batches[0].to(plan.device)
        seconds = 0.0
        for _ in range(2):
            begin = time.perf_counter()
            with plan.autocast():
                loss = step(batch)
            loss.scaled(batch.counts).backward()
            norm = sum(float(p.grad.sum()) for p in step.parameters() if p.grad is not None)  # waits for the device
            seconds = time.perf_counter() - begin
            del loss, norm
            step.zero_grad(set_to_none=True)
        per_token = seconds / max(1, batch.tokens)
        if budget.tokens is not None:
            limits.append(budget.tokens / stream.ranks * per_token)
        if budget.steps is not None:
            limits.append(budget.steps * per_token * sum(b.tokens for b in batches))
    return min(limits)


def _processor() -> str:
    return f"{platform.processor() or platform.machine()} x{os.cpu_count()}"
