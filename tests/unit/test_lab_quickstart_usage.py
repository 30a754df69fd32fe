"""Memory of a process and what it starts: a child's memory counts, and is gone when the child is."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from didact.lab.quickstart.usage import Usage, family, memory_mib

HOLDS = "import sys; held = bytearray(200 << 20); print('there', flush=True); sys.stdin.read()"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_a_childs_memory_counts_while_it_lives() -> None:
    before = memory_mib()
    assert before > 10
    with Usage(0.05) as usage:
        child = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.3)
            during = memory_mib()
            assert child.pid in family(child.pid)
    assert during - before > 195
    assert usage.peak_mib > before + 195
    assert memory_mib() < during - 150


def test_descendants_of_descendants() -> None:
    text = (
        "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE); "
        "print(c.pid, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert family(child.pid) == [child.pid, grandchild]


def test_a_process_that_is_gone_takes_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert family(child.pid) == [child.pid]
