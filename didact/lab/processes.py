"""Cells as processes: `python -m didact VERB FILE` each, some side by side, with their share of the machine.

A cell's output goes to its log. A crash there is a failure here, and loses none of the others; Ctrl-C reaches them all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from didact.errors import Interrupted
from didact.lab.cells import Cell, Failure, Runner, Say
from didact.lab.commands import Command, didact, last_line, run_all
from didact.runs.schema import PretrainRun
from didact.training.environment import cores


def side_by_side(at_once: int = 1) -> Runner:
    """What runs cells, so many at once. Unless their run files or OMP_NUM_THREADS say how many threads they compute
    with, they share the cores; where there are GPUs, each has one for itself as long as there are enough.
    """

    def run(cells: Sequence[Cell], say: Say) -> list[Failure]:
        failures = []
        commands = {_command(cell, at_once): cell for cell in cells}

        def began(command: Command) -> None:
            say(f"{command.name} … ({command.log})")

        def ended(command: Command, seconds: float, code: int) -> None:
            if code == 130:
                raise Interrupted(f"stopped in {command.name}; the same command goes on from there")
            if code == 0 and commands[command].result() is not None:
                say(f"{command.name}: done in {seconds:.0f} s")
                return
            reason = f"{last_line(command.log)} ({command.log})" if code else "ended without a result.json"
            failures.append(Failure(command.name, f"exit code {code}: {reason}", code))
            say(f"{command.name}: failed, {failures[-1].reason}")

        run_all(list(commands), at_once, lambda _: None, began, ended, places(at_once))
        return failures

    return run


def _command(cell: Cell, at_once: int) -> Command:
    verb = "pretrain" if isinstance(cell.run, PretrainRun) else "finetune"
    shared = at_once > 1 and "OMP_NUM_THREADS" not in os.environ
    threads = max(1, cores() // at_once) if shared else None
    return didact(cell.name, verb, cell.file, log=cell.log, made=cell.folder / "result.json", threads=threads)


def places(at_once: int) -> Sequence[Mapping[str, str]]:
    """The environment of each of those that run at once."""
    import torch

    if at_once == 1 or not torch.cuda.is_available():
        return ({},)
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    own = said.split(",") if said else [str(i) for i in range(torch.cuda.device_count())]
    return [{"CUDA_VISIBLE_DEVICES": device} for device in own]
