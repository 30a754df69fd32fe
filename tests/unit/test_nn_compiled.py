"""Declaring sizes dynamic; what compilation itself must keep is a law (tests/laws/test_compile.py)."""

from __future__ import annotations

import pytest
import torch
from nn_tools import pack, tiny

from didact.nn.compiled import compile_blocks, ragged
from didact.nn.transformer import build

pytestmark = pytest.mark.filterwarnings("ignore")


def marked(tensor: torch.Tensor) -> set[int]:
    return getattr(tensor, "_dynamo_dynamic_indices", set())


def test_ragged_marks_the_first_dimension_of_all_it_is_given() -> None:
    packed = pack([3, 2])
    pair = (torch.zeros(4, 2), None, "text")
    single, weight = torch.zeros(1, 3), torch.nn.Parameter(torch.zeros(4))
    ragged(packed, pair, single, weight)
    assert marked(packed.tokens) == marked(packed.cu_seqlens) == marked(pair[0]) == {0}
    assert marked(single) == marked(weight) == set()


def test_compiling_renames_nothing() -> None:
    plain, compiled = build(tiny()), build(tiny())
    compile_blocks(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert compiled.compiled
    assert not plain.compiled
