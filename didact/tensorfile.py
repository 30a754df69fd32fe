"""Files of tensors that may be read by whoever may read what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def write_file(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A safetensors file, with the rights that any new file of its folder has: safetensors, from 0.8 on, writes one
    that nobody but its owner can read, which is of no use to a group that shares its runs.
    """
    save_file(dict(tensors), path, metadata={"format": "pt"})
    path.chmod(path.parent.stat().st_mode & 0o666)
