"""Names to folders: local ones, runs, the hub (which is never called here)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from didact.errors import InputError
from didact.hub.fetch import fetch, shipped


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert fetch(model(tmp_path / "m")) == tmp_path / "m"


@pytest.mark.parametrize("mark", ["tokenizer.json", "vocab.txt"])
def test_a_tokenizers_folder(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).touch()
    assert fetch(tmp_path) == tmp_path
    assert fetch(tmp_path / mark) == tmp_path / mark


def test_a_run_is_its_best_checkpoint_else_its_last(tmp_path: Path) -> None:
    for step in ("step-1", "step-2"):
        model(tmp_path / "checkpoints" / step)
    (tmp_path / "last").symlink_to("checkpoints/step-2")
    assert fetch(tmp_path).resolve() == (tmp_path / "checkpoints/step-2").resolve()
    (tmp_path / "best").symlink_to("checkpoints/step-1")
    assert fetch(tmp_path).resolve() == (tmp_path / "checkpoints/step-1").resolve()


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for seed in ("seed-0", "seed-1"):
        model(tmp_path / seed / "checkpoints" / "step-1")
        (tmp_path / seed / "last").symlink_to("checkpoints/step-1")
    with pytest.raises(InputError, match="runs: seed-0, seed-1"):
        fetch(tmp_path)


def test_what_came_with_didact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by its name where nothing of that name lies here, without a network."""
    fetching = sys.modules["didact.hub.fetch"]  # the package calls its function so
    monkeypatch.setattr(fetching, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(fetching, "_download", lambda name: pytest.fail(f"{name} is asked of the hub"))
    assert shipped() == ()
    own = model(tmp_path / "shipped" / "small")
    assert shipped() == ("small",)
    assert fetch("small") == own
    with pytest.raises(InputError, match=r"what came with didact \(small\), a name on the hub"):
        fetch("./small")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").touch()
    assert fetch("small") == own
    (tmp_path / "small").unlink()
    (tmp_path / "small").mkdir()
    assert fetch("small") == own
    (tmp_path / "small").rmdir()
    model(tmp_path / "small")
    assert fetch("small") == Path("small")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json here"):
        fetch(tmp_path)
    for name in (str(tmp_path / "missing"), "../missing", "a/b/c"):
        with pytest.raises(InputError, match="no such folder"):
            fetch(name)


def test_a_hub_name_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        assert name == "someone/bert-tiny"
        asked.append(allow_patterns)
        return str(tmp_path / "m")

    model(tmp_path / "m")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch("someone/bert-tiny") == tmp_path / "m"
    assert "model.safetensors" in asked[0]
    assert "pytorch_model.bin" in asked[1]  # only because there were no safetensors
    (tmp_path / "m" / "model.safetensors").touch()
    fetch("someone/bert-tiny")
    assert len(asked) == 3


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(InputError, match=re.escape("'no/such-model' is no folder here, and the hub cannot be reached")):
        fetch("no/such-model")
