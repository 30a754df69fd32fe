"""How a model is trained, as frozen values; and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from didact.training.optim import AdamW
from didact.training.parallel import How
from didact.training.schedule import Budget, Schedule


@dataclass(frozen=True)
class Settings:
    """budget: how long; until: a step after which the run is saved and left, None = its end; clip: of the global
    gradient norm, None = off; seed: of dropout.

    device, precision, kernel, compile: "auto" leaves them to `policy`; parallel: over torchrun's ranks.
    deterministic: have CUDA use only operators that repeat to the bit. workers: processes that prepare data.
    log_every, evaluate_every, save_every: optimizer steps (None = only at the end); save_minutes: a checkpoint at
    least so often; keep: checkpoints, besides the best.
    best: the validation metric that decides which checkpoint is best ("" = none is); highest: whether more is better;
    patience: validations without a better one after which to stop, None = never.
    trackers: of `record.TRACKERS`; quiet: show no progress. again: the command that goes on with this run.
    """

    budget: Budget
    optimizer: AdamW = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=Schedule)
    until: int | None = None
    clip: float | None = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    kernel: str = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    parallel: How = "auto"
    deterministic: bool = False
    workers: int = 0
    log_every: int = 10
    evaluate_every: int | None = None
    save_every: int | None = None
    save_minutes: float | None = 10.0
    keep: int = 2
    best: str = ""
    highest: bool = False
    patience: int | None = None
    trackers: tuple[str, ...] = ()
    quiet: bool = False
    again: str = ""

    def __post_init__(self) -> None:
        for name in ("until", "log_every", "evaluate_every", "save_every", "keep", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected 1 or more")
        if self.patience is not None and not self.best:
            raise ValueError("patience needs `best`: the metric whose standstill ends the run")


@dataclass(frozen=True)
class Result:
    """steps, tokens, flops, seconds: over all restarts; stopped: by the budget, or by patience; metrics: of the last
    validation; best, best_step: of the chosen metric; last, best_folder: checkpoints.
    """

    steps: int
    tokens: int
    flops: float
    seconds: float
    stopped: Literal["budget", "patience"]
    metrics: Mapping[str, float]
    best: float | None
    best_step: int | None
    last: Path
    best_folder: Path | None
