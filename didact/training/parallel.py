"""Several processes as one: data parallelism (DDP) and sharded data parallelism (FSDP2), over `torchrun`.

Every rank runs the same steps; a rank's micro-batches are its own, and the counts its losses are divided by are those
of all ranks together, so that R ranks compute what one would. Small facts (counts, decisions) are exchanged as JSON
over gloo, on the host; gradients go over the device's own backend. Only rank 0 writes files.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

from didact.batch import Batch, Loss
from didact.training.step import Step

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

How = Literal["auto", "ddp", "fsdp"]


@dataclass(frozen=True)
class Ranks:
    """This process among all of a run. rank 0 … size - 1."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def exchange(self, value: Any) -> list[Any]:
        """Everybody's value, by rank. value: anything that JSON can say; not-a-numbers included."""
        if self.size == 1:
            return [value]
        own = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(own)]))
        longest = max(int(n) for n in lengths)
        padded = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(padded, torch.nn.functional.pad(own, (0, longest - len(own))))
        return [json.loads(bytes(text[: int(n)].tolist()).decode()) for text, n in zip(padded, lengths, strict=True)]

    def agree(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return self.exchange(value)[0]

    def gather(self, rows: list[Any]) -> list[Any]:
        """Everybody's rows, rank by rank, on every rank: for metrics over examples that were dealt out."""
        return [row for own in self.exchange(rows) for row in own]


def started() -> Ranks:
    """The ranks of the process group that is running, or the only one."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that `torchrun` started, and leave them at the end; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield started()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield started()
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Wrapped:
    """A step and the module that is called in its place while training. `how`: "ddp", "fsdp", or "" for one rank."""

    step: Step
    module: nn.Module
    ranks: Ranks
    how: str = ""

    def __call__(self, batch: Batch) -> Loss:
        return self.module(batch)

    def backward(self, loss: Tensor) -> None:
        """Differentiate. Both wrappers average gradients over ranks, and the loss is divided by everybody's counts
        already: so it is multiplied by their number first.
        """
        (loss * self.ranks.size if self.ranks.size > 1 else loss).backward()

    @contextlib.contextmanager
    def syncing(self, last: bool) -> Iterator[None]:
        """Around forward and backward of a micro-batch: DDP exchanges gradients in the step's last one alone. (FSDP
        does in each: keeping whole gradients between them would cost the memory that it is used to save.)
        """
        if self.how == "ddp" and not last:
            assert isinstance(self.module, nn.parallel.DistributedDataParallel)
            with self.module.no_sync():
                yield
        else:
            yield


def wrap(step: Step, how: How, ranks: Ranks, device: torch.device) -> Wrapped:
    """step, already on `device` -> its data-parallel form. "auto" is DDP; one rank is not wrapped at all.

    FSDP shards every block of every stack by itself (`nn.ModuleList` members with parameters of their own; torch keeps
    what makes a table a sum in such a list, too), then what is left. Unused parameters are looked for: which heads a
    rank's batch asks differs from rank to rank.
    """
    if ranks.size == 1:
        return Wrapped(step, step, ranks)
    if how == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device.type, (ranks.size,))
        for stack in [module for module in step.modules() if isinstance(module, nn.ModuleList)]:
            for block in stack:
                if any(True for _ in block.parameters()):
                    fully_shard(block, mesh=mesh)
        fully_shard(step, mesh=mesh)
        return Wrapped(step, step, ranks, "fsdp")
    module = nn.parallel.DistributedDataParallel(step, find_unused_parameters=True)
    return Wrapped(step, module, ranks, "ddp")


def sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether ranks hold a piece each. Where nothing has loaded torch's sharded tensors (seconds), none is."""
    return "torch.distributed.tensor" in sys.modules and isinstance(
        tensor, sys.modules["torch.distributed.tensor"].DTensor
    )


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together (every rank must ask); any other as it is."""
    return tensor.full_tensor() if sharded(tensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as `like` is, on its device."""
    tensor = tensor.to(like.device)
    if sharded(like):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(tensor, like.device_mesh, like.placements)
    return tensor
