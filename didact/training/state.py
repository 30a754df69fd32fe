"""The training state: safetensors shards and JSON, never a pickle. What it takes to go on as if nothing had happened.

    state/state.json               how far, the best so far, the open window of losses, the environment
    state/weights-00001.safetensors …     every parameter and buffer of the step, under its name
    state/optimizer-00001.safetensors …   `<parameter>.exp_avg`, `.exp_avg_sq`, `.step`

No random state is kept: dropout is seeded anew for every (seed, step, micro-batch, rank), the data stream is a pure
function of its position.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from didact.errors import InputError
from didact.tensorfile import write_file
from didact.training.parallel import spread, whole

FORMAT = 1
LATER = {"flops": None}  # keys that this format did not have at first, and what they are where they are absent
SHARD_BYTES = 4 << 30


@dataclass
class Progress:
    """How far a run is. step: optimizer steps done; tokens: real ones, over all ranks; flops: operations of these steps
    as `training.flops` counts them, over all ranks, None = of a state that was written without; seconds: of training,
    restarts added up; position: of the data stream; evaluated: the step that was last validated, and its `metrics`;
    best: the best value of the chosen metric and its step; waiting: validations since; window: the losses of the steps
    since the last logged line; logged: bytes of metrics.jsonl that belong to this state; scaler: of fp16's gradients.
    """

    step: int = 0
    tokens: int = 0
    flops: float | None = 0.0
    seconds: float = 0.0
    position: dict[str, int] = field(default_factory=dict)
    evaluated: int = -1
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int = -1
    waiting: int = 0
    window: list[dict[str, Any]] = field(default_factory=list)
    logged: int = 0
    scaler: dict[str, float] | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @staticmethod
    def from_json(values: Mapping[str, Any], file: Path) -> Progress:
        """Raises InputError for a file that another version of this format wrote."""
        names, values = {f.name for f in dataclasses.fields(Progress)}, {**LATER, **values}
        if values.get("format") != FORMAT or set(values) - {"format"} != names:
            raise InputError(
                f"training state of format {values.get('format')!r}", file=file, expected=f"format {FORMAT}"
            )
        return Progress(**{name: values[name] for name in names})


def write_tensors(folder: Path, prefix: str, tensors: Iterator[tuple[str, Tensor]], shard: int = SHARD_BYTES) -> None:
    """Names and tensors -> `prefix-00001.safetensors` … of about `shard` bytes, one in memory at a time."""
    part: dict[str, Tensor] = {}
    number, size = 1, 0
    for name, tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        if part and size + tensor.nbytes > shard:
            write_file(part, folder / f"{prefix}-{number:05d}.safetensors")
            part, size, number = {}, 0, number + 1
        part[name] = tensor
        size += tensor.nbytes
    write_file(part, folder / f"{prefix}-{number:05d}.safetensors")


def read_tensors(folder: Path, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """What `write_tensors` wrote, one tensor at a time, on the CPU. InputError for a damaged file."""
    files = sorted(folder.glob(f"{prefix}-*.safetensors"))
    if not files:
        raise InputError(f"no {prefix} in the training state", file=folder)
    for file in files:
        try:
            with safe_open(file, framework="pt") as shard:
                for name in shard.keys():  # noqa: SIM118
                    yield name, shard.get_tensor(name)
        except SafetensorError as problem:
            raise InputError(
                f"damaged: {problem}",
                file=file,
                expected="a whole file; remove its checkpoint to go on from the one before",
            ) from None


def weights(step: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and persistent buffer, under its name; what models share, once."""
    yield from step.named_parameters()
    parameters = {name for name, _ in step.named_parameters(remove_duplicate=False)}
    buffers = {id(buffer): name for name, buffer in step.named_buffers()}
    for name, tensor in step.state_dict(keep_vars=True).items():
        if name not in parameters and buffers.get(id(tensor), name) == name:
            yield name, tensor


def moments(step: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """The optimizer's tensors as `<parameter>.<name>`; parameters that never had a gradient have none."""
    for name, parameter in step.named_parameters():
        for kind, tensor in sorted(optimizer.state.get(parameter, {}).items()):
            yield f"{name}.{kind}", tensor


def save_state(folder: Path | None, step: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Weights and moments into `folder`. Every rank calls it, for sharded tensors are put together; those without a
    folder write nothing.
    """
    for prefix, tensors in (("weights", weights(step)), ("optimizer", moments(step, optimizer))):
        together = ((name, whole(tensor.detach())) for name, tensor in tensors)
        if folder is not None:
            write_tensors(folder, prefix, together)
        else:
            for _ in together:
                pass


@torch.no_grad()
def load_state(folder: Path, step: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put back what `save_state` wrote. InputError where names or shapes are not those of this step."""
    own = dict(weights(step))
    found: set[str] = set()
    for name, tensor in read_tensors(folder, "weights"):
        if name not in own or own[name].shape != tensor.shape:
            raise InputError(
                _mismatch(name, tensor, own.get(name)), file=folder, expected="the model this run began with"
            )
        own[name].copy_(spread(tensor, own[name]))
        found.add(name)
    if missing := sorted(set(own) - found):
        raise InputError(f"no {', '.join(missing[:3])} in the training state", file=folder)
    parameters = dict(step.named_parameters())
    for full_name, tensor in read_tensors(folder, "optimizer"):
        name, _, kind = full_name.rpartition(".")
        if name not in parameters:
            raise InputError(f"optimizer state of {name!r}", file=folder, expected="the model this run began with")
        parameter = parameters[name]
        state = optimizer.state[parameter]
        state[kind] = _counter(tensor, optimizer) if kind == "step" else spread(tensor, parameter)


def read_progress(folder: Path) -> Progress:
    """state.json of a training state. InputError where it is not one."""
    file = folder / "state.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InputError(f"cannot be read: {problem}", file=file, expected="a training state") from None
    return Progress.from_json(values, file)


def _counter(tensor: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """AdamW's step counter: on the device where the fused kernel reads it, on the host otherwise."""
    group = optimizer.param_groups[0]
    return tensor.to(group["params"][0].device) if group.get("fused") or group.get("capturable") else tensor


def _mismatch(name: str, tensor: Tensor, own: Tensor | None) -> str:
    if own is None:
        return f"weights hold {name!r}, which this model does not have"
    return f"weights hold {name!r} of shape {tuple(tensor.shape)}, this model's is {tuple(own.shape)}"
