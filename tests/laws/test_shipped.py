"""Every model that comes with didact: small, whole, licensed, repeatable, opened by transformers, and in the wheel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import didact
from didact import hub
from didact.hub.fetch import SHIPPED, shipped
from didact.runs import runfile
from didact.runs.schema import PretrainRun

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 16_000_000
"""bytes of a model's folder"""
TEXT = "The [MASK] of the city came to the house in the evening."


@pytest.fixture(params=shipped())
def folder(request: pytest.FixtureRequest) -> Path:
    return SHIPPED / request.param


def test_found_by_its_name_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = didact.load(folder.name)
    assert len(model.fill(TEXT)) > 0
    assert model.embed([TEXT]).shape == (1, model.model.config.width)


def test_opened_without_the_machinery_of_compilers(folder: Path) -> None:
    """What stands beside a file's tensors to check their shapes is never computed: torch would first import SymPy."""
    told = "import sys, didact; didact.load(sys.argv[1]); sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told, str(folder)], check=False).returncode == 0


def test_small_and_whole(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= LARGEST
    model = hub.load(folder)
    assert model.tokenizer.vocabulary <= model.model.config.vocabulary
    assert all(torch.isfinite(p).all() for p in model.model.parameters())


def test_it_says_under_which_licence_and_how_it_was_made(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    run: PretrainRun = runfile.read(folder / "run.yaml", PretrainRun)
    assert run.log_every == 1
    losses = json.loads((folder / "first_losses.json").read_text())["losses"]
    assert len(losses) == 200
    assert sum(losses[:20]) > sum(losses[-20:])


def test_what_the_card_tells_to_run_runs(folder: Path) -> None:
    pytest.importorskip("transformers")
    told = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(told) >= 2
    for code in told:
        found: dict[str, Any] = {}
        exec(code, found)
        assert found["model"] is not None


def test_transformers_opens_it(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = hub.load(folder)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    assert {p.dtype for p in theirs.parameters()} == {torch.float32}  # it may be trained further
    pieces = transformers.AutoTokenizer.from_pretrained(folder)
    given = pieces(TEXT, return_tensors="pt")
    with torch.no_grad():
        logits = theirs(**given).logits[0]
    place = given["input_ids"][0].tolist().index(pieces.mask_token_id)
    wanted = torch.softmax(logits[place], -1).topk(5)
    found = model.fill(TEXT, top=5)[0]
    assert [filler.token for filler in found] == pieces.convert_ids_to_tokens(wanted.indices.tolist())
    assert [filler.probability for filler in found] == pytest.approx(wanted.values.tolist(), rel=1e-4)
    long = pieces(TEXT * 200, truncation=True, return_tensors="pt")
    assert long["input_ids"].shape[1] == model.maximum
    theirs(**long)


@pytest.mark.slow
@pytest.mark.skipif(not shipped(), reason="no model comes with didact")
def test_the_wheel_brings_them(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "didact", source / "didact", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    for name in shipped():
        files = {file.name for file in (SHIPPED / name).iterdir()}
        assert {file.name for file in (site / "didact" / "shipped" / name).iterdir()} == files
        text = (
            "import sys, didact; model = didact.load(sys.argv[1]); "
            "print(didact.__file__); print(len(model.fill(sys.argv[2])))"
        )
        environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", text, name, TEXT]
        said = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        place, count = said.stdout.split()
        assert Path(place).is_relative_to(site)
        assert int(count) > 0
