"""Two texts set against each other: the formula, row by row, and what cannot be asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from didact.config import ModelConfig
from didact.heads import Matching

CONFIG = ModelConfig(vocabulary=9, width=8, layers=1, heads=2, feedforward=8)


def test_the_formula() -> None:
    """Conneau et al. (2017), §3.1, of each pair by itself, in float64; an empty text is a row of zeros."""
    generator = torch.Generator().manual_seed(0)
    layers = Matching(3).build(CONFIG)
    rows, borders = torch.randn(9, 8, generator=generator), [0, 2, 3, 3, 7, 8, 9]
    found = layers(rows, torch.tensor(borders, dtype=torch.int32)).detach().numpy()
    hidden = rows.double().numpy()
    weight, bias = (p.detach().double().numpy() for p in (layers.dense.weight, layers.dense.bias))
    for pair in range(3):
        a, b, c = borders[2 * pair : 2 * pair + 3]
        u, v = (own.mean(0) if len(own) else np.zeros(8) for own in (hidden[a:b], hidden[b:c]))
        expected = weight @ np.concatenate([u, v, np.abs(u - v), u * v]) + bias
        np.testing.assert_allclose(found[pair], expected, rtol=1e-5, atol=1e-6)


def test_no_pooler_and_no_single_row() -> None:
    assert not Matching(2).pools(CONFIG)
    for wrong in ({"pooled": True}, {"pooling": "cls"}):
        with pytest.raises(ValueError, match="means of rows, of no pooler"):
            Matching(2, **wrong)
