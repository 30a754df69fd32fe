"""What must be settled before torch is loaded: threads, how they wait, how memory is taken. Imports no torch.

OpenMP's threads spin while they wait for each other. Alone on the machine that gains a few per cent; as soon as another
process wants the cores, the spinning thread holds the core that the one it waits for needs. Measured (a 4 x 128
encoder, 2 threads on 2 cores): 40 ms a step alone, 190 ms beside one busy process, 570 ms beside two; waiting
passively 43, 66 and 121 ms. Where bf16 units make a step short, waking a thread weighs more: so they spin a little
first. BERT-mini at mixed lengths, 2 cores with AMX, ms a step alone and beside one busy process: passively 240 and
297; spinning 2,000 times 201 and 340; 5,000: 187 and 404; 10,000: 175 and 480; always 172 and 500 to 1,200. Writing 64
tokens after 8 prompts by a GPT-2 of 6 x 384: passively 905 and 915; 2,000 times 610 and 1,150; 5,000: 500 and 1,470;
10,000: 475 and 1,980; 20,000: 450 and 2,900; 50,000: 460 and 5,300.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

_SPINS = 5_000  # of GNU's OpenMP before a thread sleeps
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt(3)
_MAPPED, _KEPT = 256 << 20, 512 << 20  # bytes


def prepare_environment(threads: int | None = None) -> None:
    """Call once, before torch is imported; what the user has set stays. threads: of this process, None = `cores()`.

    Where torch is already there it changes nothing that torch has read: `torch.set_num_threads` still can.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    else:
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    keep_large_blocks()


def cores(system: Path = Path("/sys")) -> int:
    """Physical cores that this process may use: of its affinity mask, and within a container's quota."""
    allowed = _allowed()
    physical = {_siblings(system, cpu) for cpu in allowed}
    return max(1, min(len(physical), _quota(system)))


def keep_large_blocks() -> bool:
    """Tell glibc's allocator to keep blocks up to 256 MiB instead of returning each to the system and having it
    zeroed again for the next step (measured at 96 x 128 tokens, width 256: 127,000 page faults a step became 7,000,
    system time 0.40 s became 0.09 s of 2.8 s; resident memory 950 MiB became 1,130). False where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, _MAPPED)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
    return False


def _allowed() -> list[int]:
    if sys.platform.startswith("linux"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _siblings(system: Path, cpu: int) -> str:
    """The hardware threads of the core that `cpu` belongs to ("0,32"); itself where the system does not say."""
    try:
        return (system / f"devices/system/cpu/cpu{cpu}/topology/core_cpus_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota(system: Path) -> int:
    """Whole cores of the control group's quota, at least 1; a large number where there is none."""
    try:
        quota, period = (system / "fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            folder = system / "fs/cgroup/cpu"
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return sys.maxsize
    if quota in ("max", "-1"):
        return sys.maxsize
    return max(1, int(quota) // int(period))
