"""Fixtures of the parity tests: a small tokenizer's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,!?"]
PIECES += [f"##{c}" for c in "abcdefghijklmnopqrstuvwx"]


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a WordPiece vocabulary of letters."""
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """No progress bars, no advice: the peers write to stderr what no test reads."""
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
