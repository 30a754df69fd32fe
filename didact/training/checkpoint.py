"""A run's folder, in which the last good checkpoint survives a kill at any moment.

    RUN/lock                    held (flock) by the one process that trains here
    RUN/metrics.jsonl           one line an event; see `record`
    RUN/starts.jsonl            one line a start, the first and those that went on: after which step, when, where
    RUN/settled.json            what was decided once for the whole run
    RUN/checkpoints/step-N/     a Hugging Face folder, and `state/` to go on from
    RUN/last, RUN/best          links to checkpoints/step-N

A checkpoint is written aside, flushed to the disk file by file, and renamed: under its name it is always whole. One
that goes is renamed before its files are removed. POSIX file systems.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from didact.errors import InputError

_ASIDE = ".aside-"  # what is named so is being written, or removed: rubbish where no process does
_READY = ".ready-"  # a whole checkpoint, about to replace the one of its step


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run. Nothing is written before `locked`."""

    path: Path
    _held: list[int] = field(default_factory=list, repr=False, compare=False)

    @contextlib.contextmanager
    def locked(self) -> Iterator[RunFolder]:
        """Be the only process that writes here; may be nested. The system lets go when the process dies.

        Raises InputError where another process holds it.
        """
        if self._held:
            yield self
            return
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
                raise InputError(
                    f"this run is being trained by {holder}", file=self.path, expected="one process per run folder"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            self._held.append(descriptor)
            self._tidy()
            yield self
        finally:
            self._held.clear()
            os.close(descriptor)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def starts(self) -> Path:
        return self.path / "starts.jsonl"

    def at(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.checkpoints / f"step-{step}"

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint to go on from, ascending."""
        names = (p.name for p in self.checkpoints.glob("step-*") if (p / "state" / "state.json").is_file())
        return sorted(int(name[5:]) for name in names if name[5:].isdigit())

    def publish(self, step: int, write: Callable[[Path], None], facts: Callable[[], dict[str, Any]]) -> Path:
        """Make the checkpoint of `step`: `write` fills a folder aside, `facts` is its state.json, read after that.

        One that the step has already (saved before it was validated, say) is replaced.
        """
        aside = self.checkpoints / f"{_ASIDE}step-{step}"
        (aside / "state").mkdir(parents=True)
        write(aside)
        (aside / "state" / "state.json").write_bytes(_json(facts()))
        sync_tree(aside)
        if not self.at(step).exists():
            os.rename(aside, self.at(step))
            sync(self.checkpoints)
        else:
            os.rename(aside, ready := self.checkpoints / f"{_READY}step-{step}")
            sync(self.checkpoints)
            self._promote(ready)
        return self.at(step)

    def link(self, name: str, step: int) -> None:
        """Point RUN/name at a step's checkpoint, from one moment to the next."""
        point(self.path / name, Path("checkpoints", f"step-{step}"))

    def prune(self, keep: int, best: int = -1) -> None:
        """Keep the last `keep` checkpoints, and the best one: without its state where it is not among them."""
        every = sorted(int(p.name[5:]) for p in self.checkpoints.glob("step-*") if p.name[5:].isdigit())
        for step in every[:-keep]:
            place = self.at(step)
            if step != best:
                self._drop(place)
            elif (place / "state").exists():
                self._drop(place / "state", f"state-{step}")

    def decide(self, name: str, choose: Callable[[], Any]) -> Any:
        """What `choose` said the first time it was asked in this run: later starts must not choose differently."""
        file = self.path / "settled.json"
        settled = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if name not in settled:
            settled[name] = choose()
            _replace(file, _json(settled))
        return settled[name]

    def _drop(self, place: Path, name: str = "") -> None:
        aside = self.checkpoints / f"{_ASIDE}gone-{name or place.name}"
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(place, aside)
        shutil.rmtree(aside)

    def _promote(self, ready: Path) -> None:
        """Put a whole checkpoint in the place of the one that bears its name."""
        place = self.checkpoints / ready.name.removeprefix(_READY)
        if place.exists():
            self._drop(place)
        os.rename(ready, place)
        sync(self.checkpoints)

    def _tidy(self) -> None:
        """Finish, or remove, what a killed process left half done."""
        for ready in self.checkpoints.glob(f"{_READY}*"):
            self._promote(ready)
        for rubbish in self.checkpoints.glob(f"{_ASIDE}*"):
            shutil.rmtree(rubbish)
        for rubbish in self.path.glob(f"{_ASIDE}*"):
            rubbish.unlink()


def point(link: Path, target: Path) -> None:
    """Make a link to `target` (as seen from the link's folder), or point it there, from one moment to the next."""
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    aside = link.with_name(f"{_ASIDE}{link.name}")
    aside.unlink(missing_ok=True)
    os.symlink(target, aside)
    os.replace(aside, link)
    sync(link.parent)


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """`sync` for everything in a folder, and the folder."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(place, name))
        sync(Path(place))


def _replace(file: Path, content: bytes) -> None:
    """New content of a file, all or nothing."""
    aside = file.with_name(f"{_ASIDE}{file.name}")
    aside.write_bytes(content)
    sync(aside)
    os.replace(aside, file)
    sync(file.parent)


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()
