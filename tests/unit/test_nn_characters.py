"""The character CNN against one word at a time, one filter at a time, one place at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from didact.config import Characters
from didact.nn.characters import BEGIN, END, NOTHING, CharacterCNN, spell
from didact.nn.init import initialise

PARTS = Characters(((1, 3), (2, 4), (5, 2)), width=6, highways=2, longest=9)
PIECES = ["the", "##ing", "naïveté", "an extraordinarily long one", "", "天地"]


def drawn(parts: Characters = PARTS, seed: int = 0) -> CharacterCNN:
    module = CharacterCNN(len(PIECES), 5, parts)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(0.0, 0.5, generator=generator)
        module.spelling.copy_(spell(PIECES, parts.longest))
    return module


def one_word(module: CharacterCNN, piece: str, parts: Characters) -> Tensor:
    """The vector of a word (Kim et al., 2016, §2.1–2.2), from its letters."""
    p = dict(module.named_parameters())
    symbols = [256, *piece.encode()[: parts.longest - 2], 257]
    symbols += [258] * (parts.longest - len(symbols))
    vectors = p["byte.weight"][symbols]
    found = []
    for number, (size, count) in enumerate(parts.filters):
        for f in range(count):
            kernel, bias = p[f"filters.{number}.weight"][f], p[f"filters.{number}.bias"][f]
            places = [
                sum(vectors[start + k] @ kernel[:, k] for k in range(size)) + bias
                for start in range(parts.longest - size + 1)
            ]
            found.append(max(max(float(place), 0.0) for place in places))
    x = torch.tensor(found)
    for number in range(parts.highways):
        h, g = (
            p[f"highways.{number}.{part}.weight"] @ x + p[f"highways.{number}.{part}.bias"]
            for part in ("dense", "gate")
        )
        g = 1 / (1 + (-g).exp())
        x = g * h.clamp(min=0) + (1 - g) * x
    return p["project.weight"] @ x + p["project.bias"]


@pytest.mark.parametrize("highways", [0, 1, 2])
@torch.no_grad()
def test_all_at_once_is_word_by_word(highways: int) -> None:
    parts = Characters(PARTS.filters, PARTS.width, highways, PARTS.longest)
    module = drawn(parts)
    tokens = torch.tensor([4, 0, 0, 3, 5, 1, 2, 0])
    for row, token in zip(module(tokens), tokens.tolist(), strict=True):
        torch.testing.assert_close(row, one_word(module, PIECES[token], parts), atol=1e-6, rtol=1e-5)


def test_each_distinct_token_is_computed_once() -> None:
    module = drawn()
    seen: list[int] = []
    module.byte.register_forward_hook(lambda _m, given, _out: seen.append(given[0].shape[0]))
    module(torch.tensor([3, 3, 1, 3, 1]))
    assert seen == [2]


def test_spelling() -> None:
    rows = spell(["ab", "é", "abcdefgh", "", "a\0"], 6).tolist()
    assert rows[0] == [BEGIN, 97, 98, END, NOTHING, NOTHING]
    assert rows[1] == [BEGIN, 0xC3, 0xA9, END, NOTHING, NOTHING]
    assert rows[2] == [BEGIN, 97, 98, 99, 100, END]
    assert rows[3] == [BEGIN, END] + [NOTHING] * 4
    assert rows[4] == [BEGIN, 97, 0, END, NOTHING, NOTHING]


def test_it_begins_so_that_something_passes() -> None:
    """Weights of a byte's few columns with one small standard deviation would give vectors of 1e-3."""
    module = CharacterCNN(50, 64, Characters(((1, 16), (2, 16), (3, 32)), width=16, longest=12))
    initialise(module, 0.02, torch.Generator().manual_seed(0))
    assert torch.equal(module.highways[0].gate.bias, torch.full((64,), -2.0))  # type: ignore[union-attr]
    byte = module.byte.weight.detach()
    assert float(byte.abs().max()) <= 1.0
    assert float(byte.std()) == pytest.approx(1 / math.sqrt(3), rel=0.05)
    out = module(torch.arange(50)).detach()
    assert float(out.std()) > 0.05
    assert len({tuple(row.tolist()) for row in out}) == 50


@pytest.mark.parametrize("filters", [((0, 2),), ((10, 2),), ((3, 0),)])
def test_impossible_filters(filters: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="widths are at least 1"):
        Characters(filters, longest=9)
