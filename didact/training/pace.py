"""How fast a run is: real tokens a second, share of the machine's peak (MFU), memory. Validation and checkpoints do
not count.
"""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from collections.abc import Iterator

import torch

from didact.training.flops import quick_peak
from didact.training.policy import Plan

PEAK_AFTER = 20.0  # seconds of training after which it is worth a second or two to measure the peak


class Pace:
    """Since the last line, and since this start of the run."""

    def __init__(self) -> None:
        self.loss = math.nan
        self.rate = self.share = 0.0
        self.tokens, self.flops, self.all_tokens = 0, 0.0, 0
        self.busy = 0.0  # seconds of training before the last line
        self.since = time.monotonic()
        self.peak = 0.0

    def add(self, tokens: int, flops: float) -> None:
        """A step, over all ranks."""
        self.tokens += tokens
        self.all_tokens += tokens
        self.flops += flops

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """What is done in here is not training."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.since += time.monotonic() - begin

    def line(self, plan: Plan, ranks: int) -> dict[str, float]:
        """Tokens a second and MFU since the last line (the device has been waited for), peak memory in MiB."""
        seconds = max(1e-9, time.monotonic() - self.since)
        self.busy += seconds
        self.rate = self.tokens / seconds
        line = {"tokens_per_second": round(self.rate, 1), "memory_mib": round(memory(plan.device))}
        if not self.peak and self.flops and self.busy > PEAK_AFTER:
            self.peak = quick_peak(plan.device, plan.dtype)
        if self.peak:
            self.share = self.flops / seconds / (self.peak * ranks)
            line["mfu"] = round(self.share, 4)
        self.tokens, self.flops, self.since = 0, 0.0, time.monotonic()
        return line

    def facts(self) -> str:
        """For the progress bar."""
        rate = self.rate or self.all_tokens / max(1e-9, time.monotonic() - self.since)
        loss = "" if math.isnan(self.loss) else f"loss {self.loss:.3f} · "
        return f"{loss}{rate:,.0f} tokens/s" + (f" · MFU {self.share:.0%}" if self.share else "")


def memory(device: torch.device) -> float:
    """The most this process has held so far, MiB: of the device's memory, or of the machine's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
