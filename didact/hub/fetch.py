"""Where a model lies: a folder as it is, a run's best checkpoint, a model that came with didact, or a name on the hub
that is downloaded once.
"""

from __future__ import annotations

import re
from pathlib import Path

from didact.errors import InputError

SMALL = ("*.json", "*.txt", "*.model", "*/config.json")  # configuration, tokenizer, pooling
PREFERRED = ("model.safetensors", "model-*.safetensors")
FALLBACK = ("pytorch_model.bin", "pytorch_model-*.bin")
MARKS = ("config.json", "modules.json", "tokenizer.json", "vocab.txt")
"""files of which a model's or a tokenizer's folder has one; sentence-transformers may keep config.json further in"""
SHIPPED = Path(__file__).parents[1] / "shipped"
"""models that are part of the distribution, a folder each"""
_HUB_NAME = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")


def fetch(name: str | Path) -> Path:
    """A local folder of a model or a tokenizer: `name` itself, the `best` (else `last`) checkpoint of a run folder, a
    model that came with didact, or the hub's repository of this name (OWNER/NAME, or NAME), in huggingface_hub's cache.
    A file is given back as it is.

    What lies here goes before what came with didact, if it is a model. Raises InputError where there is none.
    """
    found = _here(name)
    if found is not None:
        return found
    if not _HUB_NAME.fullmatch(str(name)):
        raise InputError(
            "no such folder", file=Path(name).expanduser(), expected=f"a model's folder, a run folder or {_others()}"
        )
    return _download(str(name))


def _here(name: str | Path) -> Path | None:
    """Where it lies on this machine, the hub's cache left aside; None where nothing does."""
    path = Path(name).expanduser()
    came = SHIPPED / str(name) if str(name) in shipped() else None
    if path.is_dir():
        try:
            return within(path)
        except InputError:
            if came is None:
                raise
    elif path.exists() and came is None:
        return path
    return came


def _others() -> str:
    """What a name may be that is no folder."""
    came = f"what came with didact ({', '.join(shipped())}), " if shipped() else ""
    return f"{came}a name on the hub"


def shipped() -> tuple[str, ...]:
    """The names of the models that came with didact."""
    return tuple(sorted(folder.parent.name for folder in SHIPPED.glob("*/config.json")))


def weights_in(name: str | Path) -> tuple[Path, ...]:
    """The files of weights that `fetch` would open on this machine; none where there is no checkpoint."""
    place = _place(name)
    found = (sorted(place.glob(pattern)) for pattern in (*PREFERRED, *FALLBACK)) if place is not None else ()
    return tuple(next(filter(None, found), ()))


def shape_in(name: str | Path) -> tuple[Path, ...]:
    """The files that say what a model is and reads, its weights left aside; none where there is no checkpoint."""
    place = _place(name)
    return () if place is None else tuple(sorted(file for pattern in SMALL[:3] for file in place.glob(pattern)))


def _place(name: str | Path) -> Path | None:
    try:
        place = _here(name)
    except InputError:
        return None
    return place if place is not None and place.is_dir() else None


def within(folder: Path) -> Path:
    """The checkpoint that this local folder stands for. Raises InputError where there is none."""
    if any((folder / name).is_file() for name in MARKS):
        return folder
    for candidate in (folder / "best", folder / "last"):
        if (candidate / "config.json").is_file():
            return candidate
    inner = sorted(path.parent for path in folder.glob("*/last"))
    raise InputError(
        "no config.json here" + (f", but runs: {', '.join(p.name for p in inner[:8])}" if inner else ""),
        file=folder,
        expected="one of them" if inner else "a model's folder, or a run's with a checkpoint",
    )


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
            expected=f"an existing folder, {_others()}, or a network connection",
        ) from problem
    except HfHubHTTPError as problem:
        raise InputError(
            f"{name!r} is no folder here, and the hub says: {str(problem).partition(chr(10))[0]}",
            expected="an existing folder, or a model on huggingface.co",
        ) from problem
    return within(folder)
