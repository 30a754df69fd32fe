"""Which sequences are attended together."""

from __future__ import annotations

import pytest
import torch
from nn_tools import RULES, pack

from didact.nn.groups import Rule, group, heads, plan, rows, split


@pytest.mark.parametrize(
    ("lengths", "groups", "order"),
    [
        ([], [], None),
        ([4], [(0, 1, 4)], None),
        ([2, 2, 5, 5, 5], [(0, 2, 2), (4, 3, 5)], None),
        ([5, 2, 2], [(0, 1, 5), (5, 2, 2)], None),
        ([3, 0, 3, 0], [(0, 1, 3), (3, 1, 3)], None),
        ([3, 1, 3, 1, 3, 1], [(0, 3, 1), (3, 3, 3)], [1, 3, 5, 0, 2, 4]),
        ([1, 2, 3, 4, 5], [(0, 1, 1), (1, 1, 2), (3, 1, 3), (6, 1, 4), (10, 1, 5)], None),
    ],
    ids=str,
)
def test_neighbours_of_equal_length_are_one_group(
    lengths: list[int], groups: list[tuple[int, int, int]], order: list[int] | None
) -> None:
    assert group(lengths) == (groups, order)


def test_a_group_is_a_view_not_a_copy() -> None:
    qkv = torch.zeros(12, 3, 2, 4)
    at = (2, 2, 5)
    q, k, v = split(qkv, at)
    assert q.shape == k.shape == v.shape == (2, 2, 5, 4)
    v.fill_(1.0)
    assert float(qkv.sum()) == float(qkv[2:, 2].sum()) == 10 * 2 * 4
    assert rows(qkv, at).data_ptr() == qkv[2].data_ptr()
    assert heads(qkv[:, 0], at).shape == (2, 2, 5, 4)


def rule_of(name: str, lengths: list[int]) -> Rule:
    packed = pack(lengths)
    made = plan(packed, RULES[name](packed))
    return Rule(made.table, made.positions, made.segments, made.rank, made.reach, None)


def test_masks_are_left_out_where_the_rule_hides_nothing() -> None:
    assert rule_of("full", [4, 4]).hidden((0, 2, 4)) is None
    assert rule_of("wide window", [4, 4]).hidden((0, 2, 4)) is None
    assert rule_of("window", [2, 2]).hidden((0, 2, 2)) is None
    assert rule_of("window", [3]).hidden((0, 1, 3)) is not None
    assert rule_of("causal", [3]).triangle((0, 1, 3))
    assert not rule_of("causal window", [4]).triangle((0, 1, 4))


def test_positions_that_are_not_the_rows_own_keep_their_masks() -> None:
    packed = pack([4])
    packed.positions.mul_(3)
    seen = RULES["wide window"](packed).within(3)
    made = plan(packed, seen)
    hidden = Rule(made.table, made.positions, None, None, None, None).hidden((0, 1, 4))
    assert hidden is not None
    assert torch.equal(~hidden[0, 0], seen.matrix(packed))
