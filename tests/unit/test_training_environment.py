from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from didact.training import environment


def a_system(folder: Path, cores: list[str], quota: str = "max 100000") -> Path:
    for cpu, siblings in enumerate(cores):
        place = folder / f"devices/system/cpu/cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / "core_cpus_list").write_text(siblings + "\n")
    (folder / "fs/cgroup").mkdir(parents=True)
    (folder / "fs/cgroup/cpu.max").write_text(quota + "\n")
    return folder


@pytest.mark.parametrize(
    ("siblings", "quota", "wanted"),
    [
        (["0", "1", "2", "3"], "max 100000", 4),
        (["0,2", "1,3", "0,2", "1,3"], "max 100000", 2),
        (["0", "1", "2", "3"], "250000 100000", 2),
        (["0", "1"], "50000 100000", 1),
    ],
)
def test_cores(siblings: list[str], quota: str, wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_allowed", lambda: list(range(len(siblings))))
    assert environment.cores(a_system(tmp_path, siblings, quota)) == wanted


def test_the_older_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_allowed", lambda: [0, 1, 2, 3])
    (tmp_path / "fs/cgroup/cpu").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cpu/cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")
    assert environment.cores(tmp_path) == 3


def test_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_allowed", lambda: [0, 1])
    assert environment.cores(tmp_path) == 2


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment.prepare_environment()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"]) == ("ACTIVE", "3")
    environment.prepare_environment(threads=2)
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_needs_no_torch() -> None:
    code = (
        "import sys; from didact.training.environment import prepare_environment; prepare_environment();"
        "assert not {'torch', 'numpy'} & set(sys.modules), 'torch is loaded'"
    )
    path = {"PYTHONPATH": str(Path(environment.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **path}, timeout=60)
