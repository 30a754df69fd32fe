"""Write a model so that others open it: Hugging Face's folder (or sentence-transformers'), and `convert`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from didact import tasks
from didact.data.files import make_folder
from didact.errors import InputError
from didact.families import by_name
from didact.heads import EmbeddingHead, Head
from didact.hub import sentences, weights
from didact.hub.checkpoint import described, open_checkpoint, theirs
from didact.hub.fetch import fetch
from didact.model import Pretrained
from didact.nn.shared import plain_state


def export(pretrained: Pretrained, folder: str | Path, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write config.json, model.safetensors and the tokenizer's files into `folder`, which is made if need be.

    In Hugging Face's form, which transformers opens; a model that its family's classes cannot express (rotary
    positions in a BERT) is written in didact's own form, which `load` reads. A model with an embedding head gets
    sentence-transformers' files too, each companion a folder of its name inside. tensors: the model's state where it
    does not lie in `pretrained.model` itself (gathered from several processes). Writes in place: whoever needs it
    atomic writes aside and renames.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = pretrained.model
    family = by_name(pretrained.family)
    native = bool(family.unsupported(model.config))
    section = {
        "task": None if pretrained.task is None else tasks.to_json(pretrained.task),
        "objective": None if pretrained.objective is None else dict(pretrained.objective),
        "companions": sorted(pretrained.companions) or None,
    }
    state = {n: t.detach().cpu() for n, t in (plain_state(model) if tensors is None else tensors).items()}
    config = described(family, model.config, model.specs, pretrained.carried, section, native)
    # what ends the texts that it reads ends those that it writes, for whoever reads the tokenizer's file alone, too
    ends = pretrained.tokenizer.sep if model.decoder is not None else None
    for role in ("pad", "bos", "eos", "cls", "sep"):  # where a family leaves them open, and the file it had, too
        name, found = f"{role}_token_id", getattr(pretrained.tokenizer, role)
        if role == "eos" and found is None:
            found = ends
        if name in config and config[name] is None and name not in pretrained.carried and found is not None:
            config[name] = found
    _write(
        folder,
        config,
        state if native else theirs(family, model.config, model.specs, state),
    )
    pretrained.tokenizer.save(folder, eos=ends, longest=pretrained.maximum)
    _write_sentences(folder, model.specs, model.config.width, native or not family.architectures)
    for name, companion in pretrained.companions.items():
        export(companion, folder / name)


def convert(source: str | Path, target: str | Path, dtype: torch.dtype | None = None) -> None:
    """A folder, run or hub name in Hugging Face's form -> didact's own form, and anything written by didact -> Hugging
    Face's form. Every tensor keeps its bytes and its dtype, every key of config.json its value; or, where a `dtype` is
    named, floating-point tensors are rounded to it (bfloat16: half the bytes of float32).

    Raises InputError where `source` cannot be read, a number of it is too large for the dtype, or `target` is there
    already and not empty.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("already there", file=target, expected="a new or empty folder")
    found = open_checkpoint(fetch(source))
    read = found.ours()
    if read.unused:
        raise InputError(
            f"tensors of a head that config.json does not speak of: {', '.join(read.unused)}", file=found.folder
        )
    tensors = (
        read.tensors if dtype is None else {n: _rounded(n, t, dtype, found.folder) for n, t in read.tensors.items()}
    )
    native = not found.section
    said = {} if dtype is None else {"dtype": str(dtype).removeprefix("torch.")}
    config = described(found.family, found.model, found.heads, {**found.config, **said}, found.section, native) | said
    make_folder(target)
    _write(target, config, tensors if native else theirs(found.family, found.model, found.heads, tensors))
    for path in sorted(found.folder.iterdir()):
        if path.suffix in (".json", ".txt", ".model") and not _ours_to_write(path.name):
            shutil.copyfile(path, target / path.name)
    _write_sentences(target, found.heads, found.model.width, native or not found.family.architectures)
    for name in found.companions:
        convert(found.folder / name, target / name, dtype)


def _rounded(name: str, tensor: Tensor, dtype: torch.dtype, folder: Path) -> Tensor:
    """Buffers and tables of numbers that are no weights stay as they are."""
    if not tensor.is_floating_point():
        return tensor
    rounded = tensor.to(dtype)
    if not bool(rounded.isfinite().all()) and bool(tensor.isfinite().all()):
        raise InputError(
            f"{name} holds numbers that {dtype} has no room for", file=folder, expected="bfloat16, or none"
        )
    return rounded


def _ours_to_write(name: str) -> bool:
    return name in ("config.json", sentences.MODULES) or name.endswith(".index.json")


def _write(folder: Path, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    dtypes = {str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()}
    for key in ("dtype", "torch_dtype"):  # transformers casts to what this says
        if key in config and len(dtypes) == 1:
            config[key] = next(iter(dtypes))
    weights.write(tensors, folder)
    weights.write_json(config, folder / "config.json")


def _write_sentences(folder: Path, heads: Mapping[str, Head], width: int, ours: bool) -> None:
    """sentence-transformers' files, where there is an embedding head and it can open the rest (which is not `ours`)."""
    head = next((head for head in heads.values() if isinstance(head, EmbeddingHead)), None)
    if head is not None and not ours:
        sentences.write(folder, head, width)
