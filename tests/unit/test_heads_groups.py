"""Group-wise softmax, mean, maximum, first and last row against a loop over the groups."""

from __future__ import annotations

import torch

from didact.heads import groups

CUTS = torch.tensor([1, 4, 4, 5, 9], dtype=torch.int32)  # a row before, an empty group, a group of one, two rows after
VALUES = torch.randn(11, 3, generator=torch.Generator().manual_seed(0)) * 20


def parts() -> list[torch.Tensor]:
    return [VALUES[a:b] for a, b in zip(CUTS[:-1].tolist(), CUTS[1:].tolist(), strict=True)]


def test_ids() -> None:
    assert groups.group_ids(CUTS, 11).tolist() == [4, 0, 0, 0, 2, 3, 3, 3, 3, 4, 4]


def test_log_softmax() -> None:
    found = groups.log_softmax_within(VALUES, CUTS)
    expected = torch.zeros_like(VALUES)
    expected[1:9] = torch.cat([p.log_softmax(0) for p in parts()])
    assert torch.allclose(found, expected, atol=1e-5)


def test_mean_maximum_first_last() -> None:
    mean, most, first = (f(VALUES, CUTS) for f in (groups.mean_within, groups.maximum_within, groups.first_within))
    last = groups.last_within(VALUES, CUTS)
    for i, own in enumerate(parts()):
        if len(own):
            assert torch.allclose(mean[i], own.mean(0), atol=1e-6)
            assert torch.equal(most[i], own.max(0).values)
            assert torch.equal(first[i], own[0])
            assert torch.equal(last[i], own[-1])
        else:
            assert not mean[i].any()
            assert not most[i].any()


def test_gradients_are_those_of_the_loop() -> None:
    leaves = [VALUES.clone().requires_grad_() for _ in range(2)]
    groups.log_softmax_within(leaves[0], CUTS).pow(2).sum().backward()
    cuts = zip(CUTS[:-1].tolist(), CUTS[1:].tolist(), strict=True)
    torch.cat([leaves[1][a:b].log_softmax(0) for a, b in cuts]).pow(2).sum().backward()
    assert leaves[0].grad is not None
    assert leaves[1].grad is not None
    assert torch.allclose(leaves[0].grad, leaves[1].grad, rtol=1e-4, atol=1e-4)
