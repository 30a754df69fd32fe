"""One optimizer step of every objective, and the gradients it was made with. Run as a program it is one rank of
several, and writes what rank 0 saw to the folder in its arguments.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a program: where pytest would have put it
from training_tools import MADE, Chain, quick, step_of

from didact.data.stream import BySequences, Stream
from didact.errors import Interrupted
from didact.objectives import Objective
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.optim import AdamW, trained
from didact.training.parallel import How, Ranks, processes, started, whole
from didact.training.record import read_metrics
from didact.training.settings import Result

SEQUENCES = 14
UNEVEN = Chain(100, lengths=(9, 20), unrelated=3)  # sequences of 21 to 43 tokens, a third of them without a relation


@dataclass(frozen=True)
class Watched(AdamW):
    """AdamW that keeps the gradients it is about to use, by the parameters' names."""

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        optimizer = super().build(module)
        names = {id(parameter): name for name, parameter in trained(module)}

        def look(*_: Any) -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        gradient = whole(parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad)
                        SEEN[names[id(parameter)]] = gradient.detach().double().numpy().copy()

        optimizer.register_step_pre_hook(look)
        return optimizer


SEEN: dict[str, np.ndarray[Any, Any]] = {}


def stream_of(objective: Objective, micro_tokens: int) -> Stream:
    count = SEQUENCES - (objective.group > 1)  # of pairs, one is left over
    return Stream(UNEVEN, objective, BySequences(count), objective.most(micro_tokens), seed=5)


def one_step(objective: Objective, micro_tokens: int, folder: Path, how: How = "auto") -> dict[str, Any]:
    """-> the line of metrics.jsonl and the gradients of the first step, in micro-batches of so many tokens."""
    SEEN.clear()
    settings = quick(1, optimizer=Watched(1e-3), clip=None, parallel=how)
    fit(step_of(objective, seed=3, init_std=0.3), stream_of(objective, micro_tokens), settings, RunFolder(folder))
    lines = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "train"]
    return {"loss": lines[0]["loss"] if lines else None, "line": lines, "gradients": dict(SEEN)}


def several_steps(folder: Path, how: How, stop_in: int | None = None) -> Result:
    """Six steps of the last objective; one rank is asked to stop in micro-batch `stop_in`."""
    objective = MADE[-1]
    step = step_of(objective, seed=3, init_std=0.3)
    seen = itertools.count()

    def interrupt(*_: Any) -> None:
        if next(seen) == stop_in and started().rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    def export(folder: Path, models: Mapping[str, nn.Module]) -> None:
        save_file({n: p.detach().clone() for n, p in models["main"].named_parameters()}, folder / "model.safetensors")

    step.register_forward_pre_hook(interrupt)
    settings = quick(6, parallel=how, optimizer=AdamW(1e-3), save_every=2, keep=9)
    return fit(step, stream_of(objective, 64), settings, RunFolder(folder), export=export)


def stopped_and_resumed(out: Path, how: How, ranks: Ranks) -> None:
    """A run of all ranks that is not interrupted, and one that is."""
    flops = several_steps(out / f"{how}-whole", how).flops
    try:
        several_steps(out / f"{how}-cut", how, stop_in=5)
        raise AssertionError("the interruption went unnoticed")
    except Interrupted:
        steps = ranks.agree(RunFolder(out / f"{how}-cut").steps())
        assert steps[-1] < 6, steps
        assert len(set(map(str, ranks.exchange(steps)))) == 1
    assert ranks.exchange(several_steps(out / f"{how}-cut", how).flops) == [flops] * ranks.size


def main(out: Path, micro_tokens: int) -> None:
    torch.set_num_threads(1)
    with processes(torch.device("cpu")) as ranks:
        assert ranks.gather([ranks.rank] * ranks.rank) == [r for r in range(ranks.size) for _ in range(r)]
        for how in ("ddp", "fsdp"):
            stopped_and_resumed(out, how, ranks)
            for number, objective in enumerate(MADE):
                folder = ranks.agree(tempfile.mkdtemp(dir=out))
                found = one_step(objective, micro_tokens, Path(folder), how)
                if ranks.first:
                    arrays = {"loss": np.array(found["loss"]), **found["gradients"]}
                    np.savez(out / f"{how}-{number}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
