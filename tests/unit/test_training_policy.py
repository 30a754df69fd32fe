from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from didact.errors import InputError
from didact.nn.kernel import KERNELS
from didact.training import policy
from didact.training.policy import POLICY, plan

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """machine(device=…, bf16=…, capability=…, compiler=…): pretend to be on it."""

    def be(
        device: str = "cpu", bf16: bool = False, capability: tuple[int, int] = (8, 0), compiler: bool = True
    ) -> None:
        monkeypatch.setattr(policy, "pick_device", lambda _name: torch.device(device))
        monkeypatch.setattr(policy, "has_bf16", lambda: bf16)
        monkeypatch.setattr(policy, "_capability", lambda _device: capability)
        monkeypatch.setattr(policy, "compiler_missing", lambda _d: "" if compiler else "no C++ compiler is installed")

    return be


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ({"device": "cuda", "capability": (9, 0)}, ("bf16", "auto", "auto", False)),
        ({"device": "cuda", "capability": (8, 0)}, ("bf16", "auto", "auto", False)),
        ({"device": "cuda", "capability": (7, 5)}, ("fp16", "grouped", "auto", True)),
        ({"device": "mps"}, ("fp32", "grouped", "off", False)),
        ({"bf16": True}, ("bf16", "grouped", "auto", False)),
        ({"bf16": False}, ("fp32", "grouped", "auto", False)),
        ({"compiler": False}, ("fp32", "grouped", "off", False)),
    ],
    ids=str,
)
def test_the_table(place: dict[str, Any], wanted: tuple[Any, ...], machine: Any) -> None:
    machine(**place)
    chosen = plan()
    assert (chosen.precision, chosen.kernel, chosen.compile, chosen.scaled) == wanted


def test_kernels_exist() -> None:
    assert {rule.kernel for rule in POLICY} <= {"auto", *(kernel.name for kernel in KERNELS)}


def test_the_user_decides(machine: Any) -> None:
    machine(bf16=False)
    chosen = plan(precision="bf16", kernel="dense", compile="on")
    assert (chosen.precision, chosen.kernel, chosen.compile) == ("bf16", "dense", "on")
    assert chosen.line == "CPU (cpu): bf16, compiled"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"precision": "int8"}, "precision 'int8'; expected auto, fp32, bf16, fp16"),
        ({"precision": "fp16"}, "precision 'fp16' on a CPU"),
        ({"compile": "on"}, "compile is on, and no C++ compiler is installed"),
    ],
    ids=str,
)
def test_refusals(asked: dict[str, Any], said: str, machine: Any) -> None:
    machine(compiler=False)
    with pytest.raises(InputError, match=re.escape(said)):
        plan(**asked)


def test_devices_that_are_not_there() -> None:
    with pytest.raises(InputError, match="device 'tpu'"):
        policy.pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device here"):
            policy.pick_device("cuda")
    assert policy.pick_device("cpu") == CPU


def test_why_not_compiled_is_said(machine: Any) -> None:
    machine(compiler=False)
    assert plan().line == "CPU (cpu): fp32, not compiled: no C++ compiler is installed"


def test_compiler_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy.shutil, "which", lambda _name: None)
    assert policy.compiler_missing(CPU) == "no C++ compiler is installed"
    monkeypatch.setattr(policy.shutil, "which", lambda _name: "/usr/bin/g++")
    monkeypatch.setattr(policy.sysconfig, "get_paths", lambda: {"include": "/nowhere"})
    assert "Python.h" in policy.compiler_missing(CPU)


def test_it_pays_after_twenty_times_the_cost() -> None:
    assert not policy.pays(19 * policy.COMPILE_SECONDS)
    assert policy.pays(21 * policy.COMPILE_SECONDS)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast(precision: Any, dtype: torch.dtype, machine: Any) -> None:
    machine()
    x = torch.ones(2, 2)
    with replace(plan(), precision=precision).autocast():
        assert (x @ x).dtype == dtype
