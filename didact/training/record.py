"""What a run says of itself: metrics.jsonl always, a progress bar on a terminal (plain lines elsewhere), trackers.

A line of metrics.jsonl is one event: {"step": 200, "kind": "train", "loss": …, "loss/mlm": …} or
{"step": 200, "kind": "validation", …}. Losses are nats an answer, tokens real ones, seconds of training.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from didact.errors import InputError
from didact.training.checkpoint import sync

LINE_SECONDS = 30.0  # between plain lines
BAR_SECONDS = 0.25  # between two looks of the bar


class Tracker(ABC):
    """Somewhere else to send numbers to."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class TensorBoard(Tracker):
    """Event files in RUN/tensorboard; what a resumed run does again replaces what it did before."""

    def __init__(self, folder: Path, begin: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=begin + 1 if begin else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Hosted(Tracker):
    """Weights & Biases, or trackio, which has the same face."""

    def __init__(self, package: str, folder: Path) -> None:
        self.api = importlib.import_module(package)
        settings = {"dir": str(folder), "resume": "allow", "id": folder.resolve().name} if package == "wandb" else {}
        self.run = self.api.init(project="didact", name=folder.resolve().name, **settings)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.api.log(dict(values), step=step)

    def close(self) -> None:
        self.api.finish()


TRACKERS: dict[str, Callable[[Path, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": lambda folder, _begin: Hosted("wandb", folder),
    "trackio": lambda folder, _begin: Hosted("trackio", folder),
}


def trackers(names: tuple[str, ...], folder: Path, begin: int) -> list[Tracker]:
    """The named trackers, for a run that begins after step `begin`. InputError for one that is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"record {name!r}", expected=f"some of {', '.join(TRACKERS)}")
        if importlib.util.find_spec(name) is None:
            raise InputError(f"record {name!r}: the package is not installed", expected=f"pip install {name}")
    return [TRACKERS[name](folder, begin) for name in names]


class Recorder:
    """Of one process. file: metrics.jsonl, None = write nothing and say nothing (ranks other than the first);
    quiet: write, but say nothing; to: trackers; console: standard error unless told.
    """

    def __init__(
        self, file: Path | None, quiet: bool = False, to: tuple[Tracker, ...] = (), console: Console | None = None
    ) -> None:
        self.file = None if file is None else open(file, "ab")  # noqa: SIM115
        self.console = console or Console(stderr=True, highlight=False)
        self.console.quiet = quiet or file is None
        self.to = to
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.looked = self.said = time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>5.1f}%")
            self.bar = Progress(*columns, TextColumn("{task.fields[facts]}"), console=self.console, auto_refresh=False)
            self.task = self.bar.add_task("training", total=1.0, facts="")
            self.bar.start()

    def log(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """An event, to the file (flushed: a killed process loses nothing; JSON has no word for what is not a number but
        null) and to the trackers.
        """
        if self.file is None:
            return
        said = {
            n: None if isinstance(value, float) and not math.isfinite(value) else value for n, value in values.items()
        }
        line = json.dumps({"step": step, "kind": kind, **said}, ensure_ascii=False, allow_nan=False)
        self.file.write(line.encode() + b"\n")
        self.file.flush()
        for tracker in self.to:
            tracker.log(step, {f"{kind}/{name}": value for name, value in values.items()})

    def say(self, line: str) -> None:
        """One line to whoever watches."""
        self.console.print(line, markup=False, soft_wrap=True)

    def show(self, step: int, done: float, facts: Callable[[], str]) -> None:
        """Where the run stands (done: 0 … 1). `facts` is asked only when it is time to look."""
        if self.file is None:
            return
        now = time.monotonic()
        if self.bar is not None:
            if now - self.looked >= BAR_SECONDS or done >= 1.0:
                self.looked = now
                self.bar.update(self.task, completed=done, description=f"step {step}", facts=facts(), refresh=True)
        elif now - self.said >= LINE_SECONDS:
            self.said = now
            self.say(f"step {step} · {done:.1%} · {facts()}")

    def size(self) -> int:
        """Bytes of metrics.jsonl so far, all of them on the disk."""
        if self.file is None:
            return 0
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.file is not None:
            self.file.close()
        for tracker in self.to:
            tracker.close()


def cut_back(file: Path, size: int) -> None:
    """Take from metrics.jsonl what came after a checkpoint was written; a shorter file loses its broken last line."""
    if not file.exists():
        return
    content = file.read_bytes()[:size]
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != file.stat().st_size:
        os.truncate(file, len(whole))
        sync(file)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The events of a metrics.jsonl, a line that was cut off by a kill left out."""
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def duration(seconds: float) -> str:
    """5400 -> "1h30m"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
