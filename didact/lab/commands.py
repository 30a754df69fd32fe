"""Commands carried out side by side, a fixed number at a time, each with a log; what they say last is shown.

Unless somebody else sees to it, a command that fails ends the others and is raised here as what its exit code means: 2
InputError, 3 NotANumber, anything else RuntimeError. Ctrl-C, or the system's wish that this process end, is passed on
to the commands once (they save); Interrupted is raised when they have.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from didact.errors import InputError, Interrupted, NotANumber
from didact.training.signals import Signals

SECONDS = 0.5  # between looks
AGAIN = "stopped; the same command goes on from there"


@dataclass(frozen=True)
class Command:
    """name: shown; arguments: of this Python (`-m didact …`); log: where its output goes; made: the file that is there
    when it has done its work; env: added to ours.
    """

    name: str
    arguments: tuple[str, ...]
    log: Path
    made: Path
    env: tuple[tuple[str, str], ...] = ()


def didact(name: str, *arguments: str | Path, log: Path, made: Path, threads: int | None = None) -> Command:
    """`didact ARGUMENTS`, as a user would type it; threads: to compute with, None = all cores."""
    env = () if threads is None else (("OMP_NUM_THREADS", str(threads)),)
    return Command(name, ("-m", "didact", *map(str, arguments)), log, made, env)


def failure(command: Command, code: int) -> Exception:
    """What a command's exit code means."""
    if code == 130:
        return Interrupted(AGAIN)
    text = f"{command.name}: {last_line(command.log)} ({command.log})"
    return {2: InputError, 3: NotANumber}.get(code, RuntimeError)(text)


def raise_failure(command: Command, seconds: float, code: int) -> None:  # noqa: ARG001
    """What a command's exit code means, raised, unless it went well."""
    if code:
        raise failure(command, code)


def run_all(
    commands: Sequence[Command],
    at_once: int,
    show: Callable[[str], None],
    began: Callable[[Command], None] = lambda _: None,
    ended: Callable[[Command, float, int], None] = raise_failure,
    places: Sequence[Mapping[str, str]] = ({},),
) -> dict[str, float]:
    """Carry out all commands, `at_once` of them side by side, in the order given. Returns the seconds of each.

    show: told every moment what is under way, one line; began, ended: told of each command, with its seconds and its
    exit code; what they raise ends the others. places: environments, of which no two at once have the same as long as
    there are enough (a GPU each, say).
    """
    waiting = list(commands)
    free = [places[i % len(places)] for i in range(max(1, at_once))]
    running: dict[Command, _Running] = {}
    seconds: dict[str, float] = {}
    try:
        with Signals() as signals:
            while waiting or running:
                if signals.caught:
                    _save(one.process for one in running.values())
                    raise Interrupted(AGAIN)
                while waiting and free:
                    command, place = waiting.pop(0), free.pop(0)
                    began(command)
                    running[command] = _Running(_start(command, place), place, time.monotonic())
                time.sleep(SECONDS)
                for command, one in list(running.items()):
                    if (code := one.process.poll()) is not None:
                        del running[command]
                        free.append(one.place)
                        seconds[command.name] = time.monotonic() - one.since
                        ended(command, seconds[command.name], code)
                left = f" (+ {len(waiting)} to come)" if waiting else ""
                show(" | ".join(f"{c.name}: {last_line(c.log)}" for c in running) + left)
            if signals.caught:  # while the last one ended: nothing further is begun
                raise Interrupted(AGAIN)
    except BaseException:
        for one in running.values():
            one.process.terminate()
            one.process.wait()
        raise
    return seconds


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    place: Mapping[str, str]
    since: float


def _save(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ask all to save and end, and wait until they have."""
    asked = list(processes)
    for process in asked:
        process.send_signal(signal.SIGINT)
    for process in asked:
        process.wait()


def _start(command: Command, place: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command.log.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    with command.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # of a group of its own: the terminal's Ctrl-C would reach it a second time, which breaks off the saving
            process_group=0 if os.name == "posix" else None,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200", **place, **dict(command.env)},
        )


def last_line(log: Path) -> str:
    """What a log says last, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2000))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:160] if lines else "…"
