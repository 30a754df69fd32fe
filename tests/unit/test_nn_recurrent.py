"""LSTMs over packed tokens against LSTMs written out: one sequence, one row, one gate at a time, unpacked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nn_tools import NORMS, RECURRENT, pack, tiny
from torch import Tensor, nn

from didact.batch import Side
from didact.config import Characters, ModelConfig, Position, Recurrent
from didact.nn.core import Core
from didact.nn.cores import CORES, build
from didact.nn.recurrent import Order
from didact.packed import Packed
from didact.visibility import bidirectional, causal

LENGTHS = [3, 1, 6, 6, 2]


def recurrent(**changes: Any) -> ModelConfig:
    return tiny(**(RECURRENT | changes))


CASES: dict[str, ModelConfig] = {
    "projected": recurrent(),
    "not projected": recurrent(feedforward=8),
    "one layer": recurrent(layers=1),
    "three layers": recurrent(layers=3),
    "no residual": recurrent(layers=3, recurrent=Recurrent(residual=False)),
    "no biases": recurrent(biases=False),
    "narrow words": recurrent(embedding_width=6, tied=False),
    "from characters": recurrent(tied=False, characters=Characters(((1, 3), (2, 5)), width=4, longest=8)),
}
EVERY = pytest.mark.parametrize("config", CASES.values(), ids=CASES)


def drawn(config: ModelConfig) -> Core:
    """Every parameter matters: biases are not 0."""
    core = build(config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in core.parameters():
            p.normal_(0.0, 0.3, generator=generator)
    return core.eval()


def cell(lstm: nn.LSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One row through one LSTM cell (Hochreiter & Schmidhuber, 1997; Gers et al., 2000), projected."""
    p = dict(lstm.named_parameters())
    nothing = torch.zeros(4 * c.shape[0])
    gates = p["weight_ih_l0"] @ x + p["weight_hh_l0"] @ h
    gates = gates + p.get("bias_ih_l0", nothing) + p.get("bias_hh_l0", nothing)
    i, f, g, o = gates.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (p["weight_hr_l0"] @ h if "weight_hr_l0" in p else h), c


def written_out(core: Core, config: ModelConfig, words: Tensor, backward: bool) -> list[Tensor]:
    """words (L, P) of one sequence -> its rows after every layer, in one direction."""
    rows, kept = list(words), []
    for number, layer in enumerate(core.blocks):
        lstm: nn.LSTM = (layer.backwards if backward else layer.forwards).lstm  # type: ignore[union-attr, assignment]
        h, c = torch.zeros(words.shape[1]), torch.zeros(config.feedforward)
        out = [torch.empty(0)] * len(rows)
        for t in reversed(range(len(rows))) if backward else range(len(rows)):
            h, c = cell(lstm, rows[t], h, c)
            out[t] = h + rows[t] if number and config.recurrent.residual else h
        rows = out
        kept.append(torch.stack(rows))
    return kept


@EVERY
@torch.no_grad()
def test_packed_is_written_out(config: ModelConfig) -> None:
    core = drawn(config)
    packed = pack(LENGTHS)
    hidden = core(Side(packed), layers=True)
    words = core.embedding(packed)
    start = 0
    assert len(hidden.layers) == config.layers + 1
    torch.testing.assert_close(hidden.layers[0], torch.cat((words, words), -1))
    for n in LENGTHS:
        rows = slice(start, start + n)
        start += n
        forward, backward = (written_out(core, config, words[rows], back) for back in (False, True))
        for layer, f, b in zip(hidden.layers[1:], forward, backward, strict=True):
            torch.testing.assert_close(layer[rows], torch.cat((f, b), -1), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(hidden.streams["forward"][rows], forward[-1], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(hidden.streams["backward"][rows], backward[-1], atol=1e-6, rtol=1e-5)
    assert torch.equal(hidden.main, hidden.layers[-1])
    assert torch.equal(hidden.main, torch.cat((hidden.streams["forward"], hidden.streams["backward"]), -1))
    plain = core(Side(packed))
    assert plain.layers == ()
    assert torch.equal(plain.main, hidden.main)


def test_the_order_reads_every_row_once_and_finds_its_way_back() -> None:
    packed = Packed.of([[1] * 2, [], [1] * 3, [1]])
    forward, backward = (Order.of(packed, back) for back in (False, True))
    assert forward.sizes.tolist() == backward.sizes.tolist() == [3, 2, 1]
    assert forward.to.tolist() == [2, 0, 5, 3, 1, 4]
    assert backward.to.tolist() == [4, 1, 5, 3, 0, 2]
    for order in (forward, backward):
        assert torch.equal(order.to[order.back], torch.arange(6))


def test_forget_gates_begin_open() -> None:
    core = build(recurrent(recurrent=Recurrent(forget=1.5)), torch.Generator().manual_seed(0))
    for name, p in core.named_parameters():
        if "bias" in name:
            gates = p.view(4, 24)
            assert torch.equal(gates[1], torch.full((24,), 1.5 if "bias_ih" in name else 0.0))
            assert not gates[[0, 2, 3]].any()


def test_names_are_settled() -> None:
    names = [f"forwards.lstm.{w}_l0" for w in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")]
    names += [name.replace("forwards", "backwards") for name in names]
    wanted = ["embedding.word.weight", *(f"blocks.{i}.{name}" for i in range(2) for name in names)]
    assert list(build(recurrent()).state_dict()) == wanted


def test_dropout_is_between_layers_and_in_training_only() -> None:
    core = build(recurrent(dropout=0.5), torch.Generator().manual_seed(0))
    side = Side(pack([6, 4]))
    assert not torch.equal(core.train()(side).main, core(side).main)
    assert torch.equal(core.eval()(side).main, core(side).main)


@pytest.mark.parametrize(
    ("side", "attention", "message"),
    [
        (Side(pack([2]), causal()), (), "'causal'"),
        (Side(pack([2]), bidirectional().within(1)), (), "have their own"),
        (Side(pack([2])), (0,), "no attention"),
    ],
    ids=["causal", "window", "attention"],
)
def test_what_it_does_not_have(side: Side, attention: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(recurrent())(side, attention=attention)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 2}, "no heads"),
        ({"position": Position("rotary"), "gated": True}, r"position\.scheme, gated"),
        ({"norms": NORMS["pre"]}, "no norms"),
        ({"attention_dropout": 0.1}, "no attention_dropout"),
        ({"windows": (1, 1)}, "no windows"),
        ({"width": 15}, "even width"),
        ({"feedforward": 7}, "at least as many cells"),
        ({"characters": Characters(((1, 2),))}, "tied"),
        ({"embedding_width": 6, "tied": True}, "tied"),
    ],
    ids=str,
)
def test_settings_without_effect_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recurrent(**changes)


def test_cores_are_found_by_name() -> None:
    assert [entry.name for entry in CORES] == ["transformer", "recurrent", "opposed"]
    with pytest.raises(ValueError, match="no core 'spiral'; there are transformer, recurrent, opposed"):
        build(tiny(core="spiral"))


def test_bfloat16_is_near(recwarn: pytest.WarningsRecorder) -> None:
    core = drawn(recurrent())
    side = Side(pack(LENGTHS))
    exact = core(side).main
    with torch.autocast("cpu", torch.bfloat16):
        near = core(side).main
    torch.testing.assert_close(near.float(), exact, atol=0.05, rtol=0.05)
    assert not recwarn
