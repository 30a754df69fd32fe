"""The stack: names, layers, attention, sharing, precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from nn_tools import CONFIGS, LENGTHS, NORMS, RULES, pack, tiny

from didact.batch import Side
from didact.config import PRE_NORM, Position
from didact.nn.transformer import build
from didact.visibility import bidirectional, ranked

BERT = {
    "embedding.word.weight": (40, 16),
    "embedding.position.weight": (32, 16),
    "embedding.segment.weight": (2, 16),
    "embedding.norm.weight": (16,),
    "embedding.norm.bias": (16,),
    **{
        f"blocks.{i}.{name}": shape
        for i in range(2)
        for name, shape in {
            "attention.qkv.weight": (48, 16),
            "attention.qkv.bias": (48,),
            "attention.out.weight": (16, 16),
            "attention.out.bias": (16,),
            "feedforward.up.weight": (24, 16),
            "feedforward.up.bias": (24,),
            "feedforward.down.weight": (16, 24),
            "feedforward.down.bias": (16,),
            "norm_attention_out.weight": (16,),
            "norm_attention_out.bias": (16,),
            "norm_feedforward_out.weight": (16,),
            "norm_feedforward_out.bias": (16,),
        }.items()
    },
}


def test_names_and_shapes_are_settled() -> None:
    assert {name: tuple(p.shape) for name, p in build(tiny()).state_dict().items()} == BERT
    pre = {name for name, _ in build(tiny(norms=PRE_NORM)).named_parameters()}
    assert {"final_norm.weight", "blocks.0.norm_attention_in.weight"} <= pre
    assert "embedding.norm.weight" not in pre


def test_layers_are_the_embedding_output_and_each_blocks() -> None:
    model = build(tiny(norms=NORMS["pre"]), torch.Generator().manual_seed(0))
    side = Side(pack([3, 2]))
    hidden = model(side, layers=True)
    assert len(hidden.layers) == 3
    torch.testing.assert_close(hidden.layers[0], model.embedding(side.packed))
    assert hidden.layers[-1] is hidden.streams["main"] is hidden.main
    assert model(side).layers == ()


@pytest.mark.parametrize("scheme", ["learned", "rotary", "bucketed"])
def test_attention_of_named_layers(scheme: str) -> None:
    model = build(tiny(position=Position(scheme, maximum=32), windows=(1, None)), torch.Generator().manual_seed(0))
    packed = pack([3, 1, 5])
    side = Side(packed, RULES["causal"](packed))
    hidden = model(side, attention=(0, 1))
    assert list(hidden.attention) == [0, 1]
    assert [tuple(look.shape) for look in hidden.attention[0]] == [(4, 3, 3), (4, 1, 1), (4, 5, 5)]
    last = hidden.attention[0][2]
    assert not last.triu(1).any()
    assert not last.tril(-2).any()
    assert hidden.attention[1][2][:, 4, 0].all()
    torch.testing.assert_close(hidden.main, model(side).main)


def test_groups_of_layers_share_their_block() -> None:
    model = build(tiny(**CONFIGS["two groups of layers"]), torch.Generator().manual_seed(0))
    assert len(model.blocks) == 2
    calls: list[int] = []
    for i, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, i=i: calls.append(i))
    model(Side(pack([3])))
    assert calls == [0, 0, 1, 1]


def test_windows_are_per_layer() -> None:
    wide, narrow = (build(tiny(windows=w), torch.Generator().manual_seed(0)) for w in ((None, None), (1, 1)))
    side = Side(pack([8]))
    assert not torch.allclose(wide(side).main, narrow(side).main)
    short = Side(pack([2, 1, 2]))
    torch.testing.assert_close(wide(short).main, narrow(short).main)


def test_windows_repeat_from_the_lowest_layer_up() -> None:
    assert build(tiny(layers=5, windows=(None, 2))).windows == (None, 2, None, 2, None)
    assert build(tiny(layers=1, windows=(None, 2))).windows == (None,)
    assert tiny(layers=4, windows=(1, None, 1, None)) == tiny(layers=4, windows=(1, None))
    assert tiny(windows=(None, None)).windows is None


def test_angles_of_layers_with_a_window_are_their_own() -> None:
    def last(theta: float, local: float | None, window: int | None) -> torch.Tensor:
        position = Position("rotary", None, theta=theta, local_theta=local)
        config = tiny(layers=1, position=position, windows=(window,))
        return build(config, torch.Generator().manual_seed(0))(Side(pack([6]))).main

    assert torch.equal(last(50.0, 9.0, 100), last(9.0, None, 100))
    assert torch.equal(last(50.0, 9.0, None), last(50.0, None, None))
    assert not torch.equal(last(50.0, 9.0, 100), last(50.0, None, 100))


def test_a_model_that_looks_back_does_so_where_nothing_is_said() -> None:
    back, both = (build(tiny(visibility=seen), torch.Generator().manual_seed(0)) for seen in ("causal", "full"))
    packed = pack([5, 3])
    plain, causal = Side(packed), Side(packed, RULES["causal"](packed))
    assert torch.equal(back(plain).main, both(causal).main)
    assert torch.equal(back(causal).main, both(causal).main)
    everybody = Side(packed, ranked(torch.zeros_like(packed.tokens), torch.zeros_like(packed.tokens)))
    torch.testing.assert_close(back(everybody).main, both(plain).main)


def test_the_first_norm_may_be_left_out() -> None:
    model = build(tiny(norms=replace(PRE_NORM, first=False)))
    assert [sum(1 for _ in b.norm_attention_in.parameters()) for b in model.blocks] == [0, 2]  # type: ignore[union-attr]


def test_autocast_keeps_the_residual_stream_exact() -> None:
    model = build(tiny(), torch.Generator().manual_seed(0))
    side = Side(pack(LENGTHS["scattered"]))
    seen: list[torch.dtype] = []
    for block in model.blocks:
        block.attention.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))  # type: ignore[union-attr]
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(side, layers=True)
    assert seen == [torch.bfloat16] * 2
    assert {layer.dtype for layer in hidden.layers} == {torch.float32}
    torch.testing.assert_close(hidden.main, model(side).main, atol=0.1, rtol=0.1)


def test_attention_dropout_is_honoured_in_training_only() -> None:
    model = build(tiny(attention_dropout=0.5), torch.Generator().manual_seed(0))
    side = Side(pack([6, 6]), bidirectional())
    assert not torch.equal(model.train()(side).main, model(side).main)
    assert torch.equal(model.eval()(side).main, model(side).main)


def test_a_kernel_may_be_named() -> None:
    model = build(tiny())
    model.kernel = "fast"
    with pytest.raises(ValueError, match="no kernel 'fast'"):
        model(Side(pack([2])))
