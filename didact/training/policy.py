"""Which precision, kernel and compilation a device gets: one table, and the one line that says what was chosen.

    device                          precision       kernel     compiled
    CUDA, capability >= 8.0         bf16            auto       where it pays
    CUDA, older (T4, V100)          fp16, scaled    grouped    where it pays
    MPS                             fp32            grouped    no
    CPU with AVX512-BF16 or AMX     bf16            grouped    where it pays
    CPU without                     fp32            grouped    where it pays

bf16 and fp16 are autocast: weights, optimizer, norms and the residual stream stay fp32. A CPU without bf16 units
emulates it, three times slower than fp32. `auto` leaves the kernel to `nn.kernel`'s own table. Compilation pays where
a compiler exists and the run outlasts 20 times what it costs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from didact.errors import InputError
from didact.nn.product import has_bf16

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COMPILE_SECONDS = 25.0  # one block, forward and backward, both shapes it meets: 15 to 40 s on 2 cores
PAYS_AFTER = 20.0  # times that


@dataclass(frozen=True)
class Rule:
    """A row of the table: the devices it is for, and what they get."""

    name: str
    applies: Callable[[torch.device], bool]
    precision: Precision
    kernel: str
    compiles: bool


POLICY: tuple[Rule, ...] = (
    Rule("CUDA with bf16", lambda d: d.type == "cuda" and _capability(d) >= (8, 0), "bf16", "auto", True),
    Rule("CUDA without bf16", lambda d: d.type == "cuda", "fp16", "grouped", True),
    Rule("MPS", lambda d: d.type == "mps", "fp32", "grouped", False),
    Rule("CPU with bf16 units", lambda d: d.type == "cpu" and has_bf16(), "bf16", "grouped", True),
    Rule("CPU", lambda d: d.type == "cpu", "fp32", "grouped", True),
)


@dataclass(frozen=True)
class Plan:
    """How a run computes. compile: "auto" = where the run is long enough, decided once and kept with the run."""

    device: torch.device
    precision: Precision
    kernel: str
    compile: Literal["auto", "on", "off"]
    line: str

    @property
    def dtype(self) -> torch.dtype:
        """What matrix products are computed in."""
        return DTYPES[self.precision]

    @property
    def scaled(self) -> bool:
        """Whether gradients must be scaled not to vanish (fp16)."""
        return self.precision == "fp16"

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Matrix products inside run in the plan's precision."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.precision != "fp32"):
            yield


def plan(
    device: str = "auto", precision: str = "auto", kernel: str = "auto", compile: Literal["auto", "on", "off"] = "auto"
) -> Plan:
    """The table's row for `device`, with what the user settles themselves put in its place.

    Raises InputError for a device that is not there, for a kernel of another, or for `compile="on"` without a compiler.
    """
    place = pick_device(device)
    rule = next((r for r in POLICY if r.applies(place)), None)
    if rule is None:
        raise InputError(f"device {device!r}", expected="auto, cpu, cuda or mps")
    if precision != "auto" and precision not in DTYPES:
        raise InputError(f"precision {precision!r}", expected=f"auto, {', '.join(DTYPES)}")
    if precision == "fp16" and place.type == "cpu":
        raise InputError("precision 'fp16' on a CPU", expected="fp32, or bf16 where the processor has it")
    if kernel in ("varlen", "flex") and place.type != "cuda":
        raise InputError(f"kernel {kernel!r} on {place.type}", expected="auto, dense or grouped; it is of CUDA")
    missing = compiler_missing(place)
    if compile == "on" and missing:
        raise InputError(f"compile is on, and {missing}", expected="a compiler, or compile: auto")
    chosen = "off" if compile == "auto" and (missing or not rule.compiles) else compile
    precision = rule.precision if precision == "auto" else precision
    said = {"auto": "compiled if the run is long enough", "on": "compiled"}.get(
        chosen, f"not compiled: {missing}" if missing else "not compiled"
    )
    line = f"{rule.name} ({place}): {precision}, {said}"
    return Plan(place, precision, rule.kernel if kernel == "auto" else kernel, chosen, line)  # type: ignore[arg-type]


def pick_device(name: str = "auto") -> torch.device:
    """ "auto": CUDA (this process's own under torchrun), else MPS, else CPU. InputError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r}", expected="auto, cpu, cuda or mps") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError("no CUDA device here", expected="device: auto or cpu")
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("no MPS device here", expected="device: auto or cpu")
    return device


def compiler_missing(device: torch.device) -> str:
    """Why torch cannot compile for this device here; empty where it can."""
    if device.type == "mps":
        return "torch does not compile for MPS reliably"
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "g++", "clang++", "cl")):
        return "no C++ compiler is installed"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Python's headers (Python.h) are not installed"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return ""


def pays(seconds: float) -> bool:
    """Whether a run expected to last so long uncompiled is worth compiling."""
    return seconds >= PAYS_AFTER * COMPILE_SECONDS


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
