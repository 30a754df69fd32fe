"""A tiny training run that is killed (SIGKILL) at a chosen moment, and one that is not. Run as a program it imports
torch once, forks a process for each run, and writes what came of them to the folder in its arguments.

A moment is the k-th event of a run: an optimizer step, any operation on a file of the run's folder, a file of tensors
that is half written, or wholly.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a program: where pytest would have put it
from training_tools import MADE, Chain, masked, quick, step_of

from didact.data.stream import BySequences, ByTokens, Stream
from didact.objectives import Combined, Distilled, Objective
from didact.training import state
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.record import read_metrics
from didact.training.settings import Settings
from didact.training.state import read_progress, read_tensors
from didact.training.step import Step

STEPS = 7
SPREAD = 8  # moments of each kind of batch, evenly over the run; and these:
CHOSEN = ("half of weights", "half of optimizer", "open state.json", "os.rename .aside-step", "os.rename .aside-last")
MOMENTS = SPREAD + len(CHOSEN)
KINDS = {
    "sequences": (BySequences(6, warmup=((3, 4),)), MADE[-1]),
    "tokens": (ByTokens(192, window=17), MADE[-1]),
    "with a teacher": (BySequences(6), Combined((masked(), Distilled()), (2.0, 1.0))),
}
CLOCK = {"seconds", "tokens_per_second", "memory_mib", "mfu"}


def train(kind: str, folder: Path) -> None:
    plan, objective = KINDS[kind]
    run(objective, plan, folder, keep=1 + (kind == "tokens"))


def run(
    objective: Objective, plan: BySequences | ByTokens, folder: Path, micro_tokens: int = 96, keep: int = 1
) -> None:
    """Train on the chain, with dropout, validation and a checkpoint every other step, or go on."""
    stream = Stream(Chain(50), objective, plan, micro_tokens, seed=1)
    settings: Settings = quick(STEPS, log_every=3, evaluate_every=3, save_every=2, best="loss", keep=keep, seed=8)
    step = step_of(objective, dropout=0.2)
    held_out = Stream(Chain(20), objective, BySequences(8), 512, seed=2)[0]

    def evaluate(step: Step) -> Mapping[str, float]:
        return {"loss": sum(float(step(batch).scaled(batch.counts)) for batch in held_out)}

    def export(folder: Path, models: Mapping[str, nn.Module]) -> None:
        (folder / "config.json").write_text("{}")
        torch.save(models["main"].state_dict(), folder / "model.bin")

    fit(step, stream, settings, RunFolder(folder), evaluate, export)


class Events:
    """Counts what happens to files of `folder`, and kills this process at the `fatal`-th event."""

    def __init__(self, folder: Path, fatal: int | None) -> None:
        self.folder, self.fatal, self.names = str(folder), fatal, []
        register_optimizer_step_post_hook(lambda *_: self.happened("step"))
        sys.addaudithook(self.audit)
        self.write, state.write_file = state.write_file, self.write_file

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(("open", "os.", "shutil.")):
            paths = [os.fspath(a) for a in arguments if isinstance(a, str | os.PathLike)]
            if paths and str(paths[0]).startswith(self.folder):
                self.happened(f"{event} {Path(str(paths[0])).name}")

    def happened(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_file(self, tensors: dict[str, torch.Tensor], file: Path) -> None:
        self.write(tensors, file)
        if len(self.names) + 1 == self.fatal:
            self.fatal, fatal = None, self.fatal  # what is done here is no event
            size, before = file.stat().st_size, len(self.names)
            os.truncate(file, size // 2)
            del self.names[before:]
            self.fatal = fatal
        self.happened(f"half of {file.name}")
        self.happened(f"all of {file.name}")


def child(kind: str, folder: Path, fatal: int | None = None) -> int:
    """Train in a process of its own -> the status it ended with; its events are counted in `folder`.events."""
    if not (pid := os.fork()):
        status = 1
        try:
            events = Events(folder, fatal)
            train(kind, folder)
            folder.with_suffix(".events").write_text(json.dumps(events.names))
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def sound(folder: Path) -> str:
    """What is wrong with a folder whose run was killed; "" where nothing is."""
    for step in RunFolder(folder).steps():
        place = folder / "checkpoints" / f"step-{step}"
        if read_progress(place / "state").step != step or not (place / "model.bin").exists():
            return f"{place.name} is not of its step"
        for prefix in ("weights", "optimizer"):
            if not sum(tensor.numel() for _, tensor in read_tensors(place / "state", prefix)):
                return f"{place.name} has no {prefix}"
    for name in ("last", "best"):
        if (folder / name).is_symlink() and not (folder / name / "model.bin").exists():
            return f"{name} leads nowhere"
    return ""


def outcome(folder: Path) -> dict[str, Any]:
    """All that must not depend on whether a run was killed."""
    lines = [{k: v for k, v in line.items() if k not in CLOCK} for line in read_metrics(folder / "metrics.jsonl")]
    files = sorted(folder.glob("last/state/*.safetensors"))
    progress = read_progress(folder / "last" / "state").to_json()
    return {
        "lines": lines,
        "tensors": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "progress": {
            name: progress[name] for name in ("step", "tokens", "flops", "position", "best", "best_step", "window")
        },
        "checkpoints": RunFolder(folder).steps(),
        "links": {name: os.readlink(folder / name) for name in ("last", "best")},
    }


def main(out: Path) -> None:
    torch.set_num_threads(1)
    train("sequences", out / "warm")  # what is imported late is imported now, before the forks
    results: list[dict[str, Any]] = []
    for kind in KINDS:
        whole = out / f"{kind}-whole"
        assert child(kind, whole) == 0
        wanted, names = outcome(whole), json.loads(whole.with_suffix(".events").read_text())
        events = len(names)
        moments = [1 + number * (events - 1) // (SPREAD - 1) for number in range(SPREAD)]
        for prefix in CHOSEN:  # the one in the middle of those that are named so
            all_such = [i for i, name in enumerate(names, 1) if name.startswith(prefix)]
            moments.append(all_such[len(all_such) // 2])
        for number, moment in enumerate(moments):
            folder = out / f"{kind}-{number}"
            begin = time.perf_counter()
            killed = [child(kind, folder, moment)]
            problems = [sound(folder)]
            if number % 3 == 1:  # and once more, while it goes on
                killed.append(child(kind, folder, 1 + (events - moment) // 2))
                problems.append(sound(folder))
            finished = child(kind, folder)
            found = outcome(folder)
            different = [name for name in wanted if found[name] != wanted[name]]
            results.append(
                {
                    "moment": f"{kind}: event {moment} of {events}, {names[moment - 1]}",
                    "killed": [os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL for status in killed],
                    "problems": [problem for problem in problems if problem],
                    "finished": finished == 0,
                    "different": different,
                    "seconds": time.perf_counter() - begin,
                }
            )
    (out / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
