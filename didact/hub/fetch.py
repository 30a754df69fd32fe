"""Where a model lies: a folder as it is, a run's best checkpoint, or a name on the hub that is downloaded once."""

from __future__ import annotations

import re
from pathlib import Path

from didact.errors import InputError

SMALL = ("*.json", "*.txt", "*.model", "*/config.json")  # configuration, tokenizer, pooling
PREFERRED = ("model.safetensors", "model-*.safetensors")
FALLBACK = ("pytorch_model.bin", "pytorch_model-*.bin")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def fetch(name: str | Path) -> Path:
    """A folder with config.json: `name` itself, the `best` (else `last`) checkpoint of a run folder, or the hub's
    repository of this name (OWNER/NAME, or NAME), in huggingface_hub's cache.

    Raises InputError where there is none.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return within(folder)
    if folder.exists():
        raise InputError("a file", file=folder, expected="a model's folder, a run folder or a name on the hub")
    if not _HUB_NAME.fullmatch(str(name)):
        raise InputError("no such folder", file=folder, expected="a model's folder, a run folder or a name on the hub")
    return _download(str(name))


def within(folder: Path) -> Path:
    """The checkpoint that this local folder stands for. Raises InputError where there is none."""
    places = (folder, folder / "checkpoints")
    for candidate in (folder, *(place / name for name in ("best", "last") for place in places)):
        if (candidate / "config.json").is_file():
            return candidate
    modules = folder / "modules.json"
    if modules.is_file():
        return folder  # sentence-transformers may keep its transformer in a folder inside
    raise InputError("no config.json here", file=folder, expected="a model's folder, or a run with a checkpoint")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*SMALL, *PREFERRED]))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*SMALL, *FALLBACK]))
    except HFValidationError as problem:
        raise InputError(f"{name!r} is no folder, and no name the hub allows ({problem})") from problem
    except LocalEntryNotFoundError as problem:
        raise InputError(
            f"{name!r} is no folder here, and the hub cannot be reached",
            expected="an existing folder, or a network connection",
        ) from problem
    except HfHubHTTPError as problem:
        raise InputError(
            f"{name!r} is no folder here, and the hub says: {str(problem).splitlines()[0]}",
            expected="an existing folder, or a model on huggingface.co",
        ) from problem
    return within(folder)
