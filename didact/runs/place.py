"""A model at work: where it computes, and in which numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from didact import hub
from didact.errors import InputError
from didact.model import Pretrained
from didact.runs.common import able_to_write
from didact.training.policy import pick_device

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Place:
    """device: as `hardware.device` has it, but that "auto" is CUDA or the processor: Apple's are asked for by name;
    dtype: of the weights, and so of what is computed. Raises InputError for another.
    """

    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r}", expected=f"one of {', '.join(DTYPES)}")

    def open(self, name: str) -> Pretrained:
        """The model of this name there, able to write. Raises InputError where there is no such device."""
        device = pick_device(self.device)
        if self.device == "auto" and device.type == "mps":
            device = torch.device("cpu")
        found = able_to_write(hub.load(name))
        found.model.to(device, DTYPES[self.dtype])
        if self.dtype == "float32":  # the kernels of CUDA are for less, or have to be compiled first
            for stack in found.model.stacks:
                stack.kernel = "grouped"
        return found


AUTO = Place()
