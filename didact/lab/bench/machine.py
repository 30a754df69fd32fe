"""What was measured on: processor, cores, threads, how busy it is, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import torch

from didact.training import policy
from didact.training.environment import cores


def describe() -> dict[str, str | int | float | bool]:
    """The machine, for the record. load: processes waiting for a core just now (a quiet machine shows about 0)."""
    return {
        "cpu": _processor(),
        "gpu": device_name("cuda") if torch.cuda.is_available() else "none",
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "bf16_unit": has_bf16(),
        "load": round(os.getloadavg()[0], 2) if sys.platform != "win32" else -1.0,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


def line() -> str:
    """`describe` as one line of text."""
    m = describe()
    unit = "with" if m["bf16_unit"] else "without"
    gpu = "" if m["gpu"] == "none" else f"{m['gpu']}; "
    return (
        f"{gpu}{m['cpu']}, {m['cores']} cores, {m['threads']} threads, {unit} a bf16 unit, load {m['load']}; "
        f"Python {m['python']}, torch {m['torch']}, transformers {m['transformers']}"
    )


def version(package: str) -> str:
    """A package's version; "absent" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively. Elsewhere bf16 is emulated and measures nothing."""
    return policy.plan("cpu").precision == "bf16"


def precisions(device: str = "cpu") -> tuple[str, ...]:
    """What is worth measuring here."""
    if device != "cpu":
        return (policy.plan(device).precision,)
    return ("fp32", "bf16") if has_bf16() else ("fp32",)


def device_name(device: str) -> str:
    """A GPU's own name, "cpu" for the processor."""
    return device if device == "cpu" else torch.cuda.get_device_name(device)


def wait(device: str) -> None:
    """Until the device has done what it was asked to."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _processor() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(name: str) -> str:
    """A field of /proc/cpuinfo (Linux), or ""."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return ""
    for row in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = row.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
