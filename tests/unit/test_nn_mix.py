"""The mix of layers against its formula; what it adds to the loss; that heads read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hub_tools import same, small
from nn_tools import pack, tiny

from didact import hub
from didact.batch import Batch, Labels, Side
from didact.config import Mix
from didact.heads import Classes, Vocabulary
from didact.hub.weights import read_json
from didact.model import Model
from didact.nn.mix import LayerMix


@pytest.mark.parametrize("norm", [False, True])
@torch.no_grad()
def test_the_formula(norm: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(4, 6, generator=generator) for _ in range(3)]
    mix = LayerMix(3, norm)
    mix.s.copy_(torch.tensor([0.3, -1.0, 2.0]))
    mix.gamma.fill_(1.7)
    weights = mix.s.exp() / mix.s.exp().sum()
    wanted = torch.zeros(4, 6)
    for w, layer in zip(weights, layers, strict=True):
        for t in range(4):
            row = layer[t]
            if norm:
                row = (row - row.mean()) / (row.var(correction=0) + 1e-5).sqrt()
            wanted[t] += 1.7 * w * row
    torch.testing.assert_close(mix(layers), wanted)


def model(**mix: Any) -> Model:
    config = tiny(mix=Mix(layers="all", **mix))
    return Model(config, {"tags": Classes(3, pooled=False)}, torch.Generator().manual_seed(0)).eval()


def test_it_begins_as_the_mean_of_all_layers() -> None:
    net, side = model(), Side(pack([3, 2]))
    hidden = net.hidden(side, layers=True)
    torch.testing.assert_close(hidden.main, torch.stack(hidden.layers).mean(0))
    assert torch.equal(net.hidden(side).main, hidden.main)
    assert net.hidden(side).layers == ()
    rows = torch.arange(5)
    (logits,) = net(Batch(side, (Labels("tags", rows, rows),)))
    torch.testing.assert_close(logits, net.heads["tags"](hidden.main))


def test_the_weights_are_drawn_together_once_however_the_batch_is_cut() -> None:
    """λ Σ s² is in the loss once, and in no validation loss."""
    net = model(toward_equal=0.1)
    assert net.mix is not None
    with torch.no_grad():
        net.mix.s.copy_(torch.tensor([1.0, -2.0, 0.5]))
    packed = pack([3, 2])
    values = torch.tensor([0, 1, 2, 0, 1])

    def scaled(*cuts: slice) -> torch.Tensor:
        totals = []
        for cut in cuts:
            asked = Labels("tags", torch.arange(5)[cut], values[cut])
            (logits,) = net(Batch(Side(packed), (asked,)))
            totals.append(net.loss(logits, asked).total.detach() / 5)
        return torch.stack(totals).sum()

    plain = scaled(slice(0, 5))
    net.train()
    for cuts in ((slice(0, 5),), (slice(0, 1), slice(1, 5))):
        assert float(scaled(*cuts) - plain) == pytest.approx(0.1 * (1.0 + 4.0 + 0.25), rel=1e-4)


def test_any_family_takes_it(tmp_path: Path) -> None:
    """A start without a mix is given one that is the mean; with it, no class of transformers fits."""
    small(tmp_path / "bert", {"vocabulary": Vocabulary()})
    mixed = hub.load(tmp_path / "bert", {"tags": Classes(3, pooled=False)}, changes={"mix": {"layers": "all"}})
    assert {"mix.s", "mix.gamma"} < set(mixed.fresh)
    assert mixed.model.mix is not None
    assert mixed.model.mix.s.tolist() == [0.0] * 3
    assert mixed.model.mix.gamma.tolist() == [1.0]
    hub.export(mixed, tmp_path / "mixed")
    assert read_json(tmp_path / "mixed" / "config.json")["model_type"] == "didact"
    again = hub.load(tmp_path / "mixed")
    assert again.model.config.mix == Mix("all")
    assert same(again, mixed)
