"""Memory of this process and everything it started, sampled: what a machine needs to hold at once.

On Linux the proportional set size (a page shared by n processes counts 1/n for each, so a sum over processes is what
they take together); elsewhere the largest resident size of this process plus that of its largest child.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import defaultdict
from pathlib import Path

SECONDS = 1.0  # between samples


class Usage:
    """with Usage() as usage: …; usage.peak_mib is the most memory that was in use, in MiB."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.peak_mib = 0.0
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            self._sample()

    def _sample(self) -> None:
        self.peak_mib = max(self.peak_mib, memory_mib())


def memory_mib() -> float:
    """MiB that this process and its descendants take now (Linux), or at most took (elsewhere)."""
    if sys.platform.startswith("linux"):
        return sum(_proportional_kib(pid) for pid in family(os.getpid())) / 1024
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return sum(resource.getrusage(who).ru_maxrss * unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / (
        1 << 20
    )


def family(root: int) -> list[int]:
    """A process and all its descendants (Linux)."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):  # it may end while it is looked at
                after_name = (place / "stat").read_text().rpartition(")")[2].split()
                children[int(after_name[1])].append(int(place.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def _proportional_kib(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
