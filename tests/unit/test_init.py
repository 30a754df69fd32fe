"""`import didact` is light, and says its version."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import didact

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_the_projects() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == didact.__version__


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, didact; print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    heavy = ["torch", "numpy", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "huggingface_hub"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_loading_imports_no_more_than_it_needs() -> None:
    code = "import sys, didact.hub; print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    spared = ["transformers", "datasets", "sklearn", "scipy", "matplotlib", "sacrebleu", "huggingface_hub", "sympy"]
    out = subprocess.run([sys.executable, "-c", code, *spared], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
