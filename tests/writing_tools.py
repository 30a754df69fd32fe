"""What the tests of generation share: small random models that write and that fill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers
from torch import nn

from didact.batch import Batch, Labels, Side
from didact.config import PRE_NORM, ModelConfig, Output, Position
from didact.generation import WRITER
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.packed import Packed
from didact.tokenization.tokenizer import Tokenizer


def wide(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)


def byte_level() -> Tokenizer:
    """A byte-level BPE of single bytes: every character beyond ASCII is several tokens."""
    pieces = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = tokenizers.Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    return Tokenizer(backend)


def a_writer() -> Pretrained:
    """A GPT-2 over bytes."""
    config = ModelConfig(
        vocabulary=257,
        width=24,
        layers=2,
        heads=4,
        feedforward=32,
        segments=0,
        position=Position(maximum=96),
        norms=PRE_NORM,
        pooler=False,
        output=Output(transform=False, bias=False),
        visibility="causal",
    )
    model = Model(config, {"vocabulary": Vocabulary()}).eval()
    wide(model, 0)
    return Pretrained(model, byte_level(), "gpt2", writer=WRITER)


def a_filler(folder: Path) -> Pretrained:
    """A BERT over a handful of words, whose vocabulary lies in the folder."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(25))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    config = ModelConfig(vocabulary=30, width=16, layers=2, heads=4, feedforward=24, position=Position(maximum=32))
    model = Model(replace(config, pooler=False), {"vocabulary": Vocabulary()}).eval()
    wide(model, 1)
    return Pretrained(model, Tokenizer.load(folder))


def logits_of(pretrained: Pretrained, tokens: list[int], segments: list[int] | None = None) -> torch.Tensor:
    """Every row's, by the model's own forward pass."""
    side = Side(Packed.of([tokens], None if segments is None else [segments]))
    rows = torch.arange(len(tokens))
    with torch.no_grad():
        return pretrained.model(Batch(side, (Labels("vocabulary", rows, rows),)))[0]
