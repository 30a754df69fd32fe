"""didact.heads.state: the loss is the angle's, whatever the lengths."""

from __future__ import annotations

import pytest
import torch

from didact.batch import Labels
from didact.config import ModelConfig
from didact.heads import State


def test_the_loss_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    own, wanted = (torch.randn(7, 16, generator=generator) for _ in range(2))
    part = State().loss(own, Labels("state", torch.arange(7), wanted))
    expected = torch.nn.CosineEmbeddingLoss(reduction="sum")(own, wanted, torch.ones(7))
    torch.testing.assert_close(part.total, expected)
    assert (part.count, part.correct) == (7, None)


def test_only_the_direction_counts() -> None:
    rows = torch.eye(4)[:2]
    same = State().loss(rows, Labels("state", torch.arange(2), 3.0 * rows))
    opposite = State().loss(rows, Labels("state", torch.arange(2), -rows))
    assert same.total.item() == pytest.approx(0.0, abs=1e-6)
    assert opposite.total.item() == pytest.approx(4.0)


def test_it_has_no_parameters() -> None:
    layers = State().build(ModelConfig())
    assert not list(layers.parameters())
    assert torch.equal(layers(torch.ones(2, 3)), torch.ones(2, 3))
