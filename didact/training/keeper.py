"""What is kept of a run: checkpoints and their links written, the latest one restored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from didact.training.checkpoint import RunFolder
from didact.training.ready import Ready, changes
from didact.training.record import Recorder
from didact.training.state import Progress, load_state, save_state
from didact.training.window import Window

Export = Callable[[Path, Mapping[str, nn.Module]], None]


class Keeper:
    """Of one start of a run. Every rank has one and calls the same verbs; the first one alone touches the folder."""

    def __init__(self, run: RunFolder, ready: Ready, export: Export | None, recorder: Recorder, keep: int) -> None:
        self.run, self.ready, self.export, self.recorder, self.keep = run, ready, export, recorder, keep
        self.ranks = ready.wrapped.ranks

    def note_start(self, p: Progress) -> None:
        """A line of starts.jsonl: after which step, when, where. Nothing in the metrics shows it."""
        if self.ranks.first:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            line = {"step": p.step, "seconds": round(p.seconds, 3), "when": when, **self.ready.environment()}
            with self.run.starts.open("a", encoding="utf-8") as starts:
                starts.write(json.dumps(line) + "\n")

    def restore(self, p: Progress) -> None:
        """Put weights, moments and links back as the checkpoint that `p` was read from has them."""
        load_state(self.run.at(p.step) / "state", self.ready.step, self.ready.optimizer)
        if self.ready.scaler is not None and p.scaler is not None:
            self.ready.scaler.load_state_dict(p.scaler)
        if self.ranks.first:
            self._link(p)
        if line := changes(p.environment, self.ready.environment()):
            self.recorder.say(line)

    def save(self, p: Progress, window: Window, seconds: float) -> None:
        """The checkpoint of this step, `seconds` into training; its links; old ones go. The window is settled."""
        scaler = self.ready.scaler
        p.window, p.environment, p.logged = window.settled, self.ready.environment(), self.recorder.size()
        p.seconds = self.ranks.agree(seconds)
        p.scaler = None if scaler is None else scaler.state_dict()
        if self.ranks.first:
            self.run.publish(p.step, self._write, p.to_json)
            self._link(p)
            self.run.prune(self.keep, p.best_step)
        else:
            self._write(None)

    def last_good(self) -> str:
        """Which checkpoint stands, for whoever is told that training went wrong."""
        steps = self.ranks.agree(self.run.steps())
        return f"the last good state is {self.run.at(steps[-1])}" if steps else "there is no checkpoint yet"

    def _write(self, folder: Path | None) -> None:
        """The weights as others read them, and the state. None: only help to put sharded tensors together."""
        models = self.ready.models()
        if folder is not None and self.export is not None:
            self.export(folder, models)
        save_state(None if folder is None else folder / "state", self.ready.step, self.ready.optimizer)

    def _link(self, p: Progress) -> None:
        self.run.link("last", p.step)
        if self.run.at(p.best_step).exists():
            self.run.link("best", p.best_step)
