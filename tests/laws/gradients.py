"""One optimizer step of every objective, and the gradients it was made with. Run as a program it is one rank of
several, and writes what rank 0 saw to the folder in its arguments.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a program: where pytest would have put it
from training_tools import MADE, Chain, quick, step_of

from didact.data.stream import BySequences, Stream
from didact.objectives import Objective
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.optim import AdamW, trained
from didact.training.parallel import How, processes, whole
from didact.training.record import read_metrics

SEQUENCES = 13
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
                        SEEN[names[id(parameter)]] = whole(parameter.grad).detach().double().numpy().copy()

        optimizer.register_step_pre_hook(look)
        return optimizer


SEEN: dict[str, np.ndarray[Any, Any]] = {}


def stream_of(objective: Objective, micro_tokens: int) -> Stream:
    return Stream(UNEVEN, objective, BySequences(SEQUENCES), micro_tokens, seed=5)


def one_step(objective: Objective, micro_tokens: int, folder: Path, how: How = "auto") -> dict[str, Any]:
    """-> the line of metrics.jsonl and the gradients of the first step, in micro-batches of so many tokens."""
    SEEN.clear()
    settings = quick(1, optimizer=Watched(1e-3), clip=None, parallel=how)
    fit(step_of(objective, seed=3, init_std=0.3), stream_of(objective, micro_tokens), settings, RunFolder(folder))
    lines = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "train"]
    return {"loss": lines[0]["loss"] if lines else None, "line": lines, "gradients": dict(SEEN)}


def main(out: Path, micro_tokens: int) -> None:
    torch.set_num_threads(1)
    with processes(torch.device("cpu")) as ranks:
        for how in ("ddp", "fsdp"):
            for objective in MADE:
                folder = ranks.agree(tempfile.mkdtemp(dir=out))
                found = one_step(objective, micro_tokens, Path(folder), how)
                if ranks.first:
                    arrays = {"loss": np.array(found["loss"]), **found["gradients"]}
                    np.savez(out / f"{how}-{objective.kind}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
