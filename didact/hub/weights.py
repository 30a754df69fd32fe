"""A checkpoint's tensors: safetensors, one file or sharded; PyTorch's own files only without running their code.

A `pytorch_model.bin` is a pickle: it is read with `weights_only`, which refuses everything but tensors.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from didact.errors import InputError
from didact.tensorfile import write_file

SINGLE = "model.safetensors"
# In order of preference: whole files, and indices whose "weight_map" names the shard of each tensor.
FILES = (SINGLE, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def find(folder: Path) -> Path:
    """The file of this folder that holds the weights, or their index. Raises InputError."""
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise InputError("no weights here", file=folder, expected=" or ".join(FILES))


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by their names there. Raises InputError (file) on a missing or damaged file."""
    path = find(folder)
    if path.suffix != ".json":
        return _file(path)
    index = read_json(path)
    where: Any = index.get("weight_map")
    if not isinstance(where, dict):
        raise InputError("no weight_map", file=path, expected="the shard of each tensor")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(where.values())):
        if Path(shard).name != shard:  # a name that leads out of the folder
            raise InputError(f"shard {shard!r}", file=path, expected="a file of the same folder")
        tensors |= _file(folder / shard)
    if absent := sorted(set(where) - set(tensors)):
        raise InputError(f"{', '.join(absent[:8])} in no shard", file=path, expected="every tensor of weight_map")
    return tensors


def write(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """One model.safetensors, names in order: equal tensors give equal bytes, however they lie in memory."""
    content = {name: tensors[name].contiguous() for name in sorted(tensors)}
    write_file(content, folder / SINGLE)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError (file, row) where it is missing or not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except UnicodeDecodeError as problem:
        raise InputError(f"not UTF-8 ({problem.reason})", file=path) from problem
    except json.JSONDecodeError as problem:
        raise InputError(f"not JSON: {problem.msg}", file=path, row=problem.lineno) from problem
    if not isinstance(content, dict):
        raise InputError(f"a JSON {type(content).__name__}", file=path, expected="an object")
    return content


def write_json(content: Any, path: Path) -> None:
    """Indented, as transformers writes it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError("no such file", file=path, expected="the weights that the index names")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as problem:
            raise InputError(f"damaged or cut short ({problem})", file=path) from problem
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        raise InputError("holds more than tensors, or is damaged", file=path, expected="safetensors") from problem
    except (RuntimeError, EOFError, OSError, ValueError) as problem:
        said = str(problem).partition("\n")[0] or type(problem).__name__
        raise InputError(f"damaged or cut short ({said})", file=path) from problem
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise InputError("not a dictionary of tensors", file=path)
    return content
