"""The learning rate over a run, a pure function of the share of the run that is done.

Because it reads a share and not a step number, a run whose budget is minutes or tokens decays to its end like one
whose budget is steps.

    linear         down to the floor in a straight line (Devlin et al., 2019)
    cosine         half a cosine down to the floor (Loshchilov & Hutter, 2017)
    inverse_sqrt   down as 1 / sqrt(step), the floor at the least (Vaswani et al., 2017, §5.3; T5)
    wsd            the peak until the last `decay` of the run, then down as 1 - sqrt (Hägele et al., 2024, §3.2)
    constant       the peak to the end
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

KINDS = ("linear", "cosine", "inverse_sqrt", "wsd", "constant")


@dataclass(frozen=True)
class Schedule:
    """kind: of the decay; warmup: share of the run in which the rate rises from 0; decay: share in which "wsd" falls;
    floor: where it ends, as a share of the peak.
    """

    kind: Literal["linear", "cosine", "inverse_sqrt", "wsd", "constant"] = "linear"
    warmup: float = 0.1
    decay: float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"schedule {self.kind!r}; expected one of {', '.join(KINDS)}")
        if not (0 <= self.warmup < 1 and 0 < self.decay <= 1 and 0 <= self.floor <= 1):
            raise ValueError(f"not shares of a run or of the peak: {self}")
        if self.kind == "inverse_sqrt" and not self.warmup:
            raise ValueError("inverse_sqrt falls from where the warm-up ends: a warmup above 0 is expected")

    def __call__(self, done: float, ahead: float = 0.0) -> float:
        """The rate's share of the peak, for the step that begins when `done` (0 … 1) of the run is done.

        ahead: the share that this step takes, where it is known (1 / steps): the warm-up counts it in, so that the
        first step already moves. Step s of n: warm-up (s + 1) / w, then linear (n - s) / (n - w) or inverse_sqrt
        sqrt(w / (s + 1)), w = warmup · n.
        """
        done = min(max(done, 0.0), 1.0)
        if done + ahead < self.warmup:
            return (done + ahead) / self.warmup
        if self.kind == "inverse_sqrt":
            return max(self.floor, math.sqrt(self.warmup / (done + ahead)))
        fallen = self._fallen(done)
        return 1.0 - (1.0 - self.floor) * fallen

    def _fallen(self, done: float) -> float:
        """0 at the peak, 1 at the floor."""
        if self.kind == "constant":
            return 0.0
        if self.kind == "wsd":
            return math.sqrt(max(0.0, done - (1.0 - self.decay)) / self.decay)
        since = max(0.0, done - self.warmup) / (1.0 - self.warmup)
        return since if self.kind == "linear" else (1.0 - math.cos(math.pi * since)) / 2


@dataclass(frozen=True)
class Budget:
    """How long a run is: optimizer steps, real tokens, or minutes of this machine's clock; the first one used up
    ends it. Minutes include validation and checkpoints, and add up over restarts.
    """

    steps: int | None = None
    tokens: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [limit for limit in (self.steps, self.tokens, self.minutes) if limit is not None]
        if not given or min(given) <= 0:
            raise ValueError(f"a budget needs a positive limit: {self}")

    def done(self, steps: int, tokens: int, seconds: float) -> float:
        """The share that is used up, at most 1."""
        shares = [
            used / limit
            for used, limit in ((steps, self.steps), (tokens, self.tokens), (seconds / 60, self.minutes))
            if limit is not None
        ]
        return min(1.0, max(shares))

    @property
    def step_share(self) -> float:
        """The share that one step takes, 0 where steps do not limit the run."""
        return 0.0 if self.steps is None else 1.0 / self.steps
