"""Initial weights."""

from __future__ import annotations

import torch
from nn_tools import NORMS, tiny

from didact.nn.transformer import build


def test_matrices_are_normal_biases_zero_norms_one() -> None:
    model = build(tiny(width=64, heads=4, vocabulary=500, init_std=0.05), torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, torch.ones(64) if name.endswith("weight") else torch.zeros(64)), name
        elif parameter.ndim < 2:
            assert not parameter.any(), name
        elif parameter.numel() > 1000:
            assert abs(float(parameter.detach().std()) / 0.05 - 1) < 0.1, name


def test_weights_follow_the_generator_alone() -> None:
    config = tiny(norms=NORMS["sandwich"])
    torch.manual_seed(1)
    first = build(config, torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    again = build(config, torch.Generator().manual_seed(3))
    other = build(config, torch.Generator().manual_seed(4))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.embedding.word.weight, other.embedding.word.weight)
