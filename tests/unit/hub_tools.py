"""A small model in a folder, for the tests of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from didact import hub
from didact.config import ModelConfig
from didact.heads import Head
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##b", "##c"]
CONFIG = ModelConfig(len(PIECES), 16, 2, 2, 24, dropout=0.1, attention_dropout=0.1)


def tokenizer(folder: Path) -> Tokenizer:
    """A WordPiece of letters."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return Tokenizer.load(folder)


def small(folder: Path, heads: Mapping[str, Head], config: ModelConfig = CONFIG) -> Pretrained:
    """A model drawn with seed 0, written into `folder`."""
    pretrained = Pretrained(
        Model(config, heads, torch.Generator().manual_seed(0)).eval(), tokenizer(folder.parent / "vocabulary")
    )
    hub.export(pretrained, folder)
    return pretrained


def same(a: Pretrained, b: Pretrained) -> bool:
    """Whether two models have the same parameters, bit for bit."""
    x, y = a.model.state_dict(), b.model.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
