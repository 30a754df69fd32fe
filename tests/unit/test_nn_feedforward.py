"""Plain and gated feed-forward layers."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from didact.config import Activation
from didact.nn.feedforward import ACTIVATIONS, FeedForward


def test_every_activation_of_the_configuration_is_there() -> None:
    assert set(ACTIVATIONS) == set(get_args(Activation))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_plain_and_gated_are_their_formulas(activation: Activation, bias: bool) -> None:
    x = torch.randn(3, 4)
    act = ACTIVATIONS[activation]
    plain, gated = (FeedForward(4, 6, activation, gate, bias) for gate in (False, True))
    torch.testing.assert_close(plain(x), plain.down(act(plain.up(x))))
    gate, up = gated.up(x)[:, :6], gated.up(x)[:, 6:]
    torch.testing.assert_close(gated(x), gated.down(act(gate) * up))
    assert (plain.up.bias is not None) == (gated.up.bias is not None) == bias
