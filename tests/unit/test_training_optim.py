from __future__ import annotations

from typing import Any

import pytest
import torch
from training_tools import MADE, step_of

from didact.training.optim import AdamW, depth, set_rate, trained
from didact.training.step import Step

LAYERS = 3


def a_step(**changes: Any) -> Step:
    return step_of(MADE[-1], layers=LAYERS, **changes)


def group_of(step: Step, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return {name: groups[id(p)] for name, p in trained(step)}


def test_everything_is_in_one_group() -> None:
    step = a_step()
    members = [id(p) for group in AdamW().build(step).param_groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in step.parameters())


def test_biases_and_norms_do_not_decay() -> None:
    groups = group_of(step := a_step(), AdamW(decay=0.1).build(step))
    for name, group in groups.items():
        spared = name.endswith("bias") or "norm" in name
        assert group["weight_decay"] == (0.0 if spared else 0.1), name


@pytest.mark.parametrize(
    ("name", "steps_down"),
    [
        ("models.main.heads.vocabulary.dense.weight", 0),
        ("models.main.pooler.dense.weight", 0),
        ("models.main.core.blocks.2.attention.qkv.weight", 1),
        ("models.main.core.blocks.0.feedforward.up.bias", 3),
        ("models.main.core.embedding.word.weight", 4),
    ],
)
def test_layers_have_their_rates(name: str, steps_down: int) -> None:
    step = a_step()
    optimizer = AdamW(layer_decay=0.8).build(step)
    set_rate(optimizer, 2.0)
    assert group_of(step, optimizer)[name]["lr"] == pytest.approx(2.0 * 0.8**steps_down)


@pytest.mark.parametrize(("freeze", "lowest"), [(None, -1), ("embeddings", 0), (0, 0), (2, 2), (LAYERS, LAYERS)])
def test_freezing(freeze: Any, lowest: int) -> None:
    step = a_step()
    AdamW(freeze=freeze).frozen(step)
    for name, parameter in step.named_parameters():
        assert parameter.requires_grad == (depth(name, LAYERS) > lowest), name


def test_a_shared_block_is_one_layer() -> None:
    step = step_of(MADE[0], layers=4, layer_groups=1)
    scales = {group["scale"] for group in AdamW(layer_decay=0.5).build(step).param_groups}
    assert scales == {1.0, 0.5, 0.25}


def test_a_decoder_stands_on_its_encoder() -> None:
    objective = next(made for made in MADE if made.decoder)
    step = step_of(objective)  # two layers and three
    scales = {name: group["scale"] for name, group in group_of(step, AdamW(layer_decay=0.5).build(step)).items()}
    for name, down in (("heads.vocabulary.bias", 0), ("decoder.blocks.2.cross.q.weight", 1)):
        assert scales[f"models.main.{name}"] == 0.5**down
    assert scales["models.main.core.blocks.1.attention.qkv.weight"] == 0.5**4
    assert scales["models.main.decoder.embedding.position.weight"] == 0.5**6
    AdamW(freeze=3).frozen(step)
    frozen = {name for name, p in step.named_parameters() if not p.requires_grad}
    stacks = ("core.blocks.0.", "core.blocks.1.", "decoder.blocks.0.", "core.embedding.", "decoder.embedding.")
    expected = {name for name, _ in step.named_parameters() if any(stack in name for stack in stacks)}
    assert frozen == expected


def test_refusals() -> None:
    with pytest.raises(ValueError, match="cannot freeze 4 layers of a model that has 3"):
        AdamW(freeze=4).frozen(a_step())
    bare = a_step()
    for name, parameter in bare.named_parameters():
        parameter.requires_grad_("blocks" in name)
    with pytest.raises(ValueError, match="nothing to train"):
        AdamW(freeze=3).frozen(bare)
    assert any(p.requires_grad for p in bare.parameters())
    step = a_step().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        AdamW().build(step)


def test_equals_torch_unfused() -> None:
    """The fused kernel and the definition, over five steps."""
    torch.manual_seed(0)
    ours = torch.nn.Linear(5, 7)
    theirs = torch.nn.Linear(5, 7)
    theirs.load_state_dict(ours.state_dict())
    fused = AdamW(0.01, decay=0.1).build(ours)
    plain = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}],
        lr=0.01,
        eps=1e-6,
        foreach=False,
        fused=False,
    )
    assert fused.param_groups[0]["fused"]
    x = torch.randn(11, 5)
    for _ in range(5):
        for module, optimizer in ((ours, fused), (theirs, plain)):
            optimizer.zero_grad()
            module(x).pow(2).sum().backward()
            optimizer.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert torch.allclose(ours.bias, theirs.bias, atol=1e-6)
