"""The table of kernels."""

from __future__ import annotations

import pytest
import torch
from nn_tools import LENGTHS, RULES, pack

from didact.nn.kernel import KERNELS, attend, choose, named
from didact.visibility import Visibility, bidirectional, causal

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RANKED = RULES["permuted"](pack([2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seen", [bidirectional(), causal().within(3), RANKED], ids=["full", "window", "ranked"])
def test_a_cpu_groups(seen: Visibility, dtype: torch.dtype) -> None:
    assert choose(CPU, dtype, seen).name == "grouped"


@pytest.mark.parametrize(
    ("capability", "dtype", "seen", "distance", "dropout", "expected"),
    [
        ((9, 0), torch.bfloat16, bidirectional(), False, 0.0, "varlen"),
        ((8, 0), torch.float16, causal().within(8), False, 0.0, "varlen"),
        ((8, 0), torch.float32, bidirectional(), False, 0.0, "flex"),
        ((8, 0), torch.bfloat16, RANKED, False, 0.0, "flex"),
        ((8, 0), torch.bfloat16, bidirectional(), True, 0.0, "flex"),
        ((8, 0), torch.bfloat16, bidirectional(), False, 0.1, "grouped"),
        ((7, 5), torch.float16, bidirectional(), False, 0.0, "grouped"),
    ],
)
def test_a_gpu_takes_the_fastest_that_can(
    capability: tuple[int, int],
    dtype: torch.dtype,
    seen: Visibility,
    distance: bool,
    dropout: float,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose(CUDA, dtype, seen, distance, dropout).name == expected


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="no kernel 'fast'; there are dense, grouped, varlen, flex"):
        named("fast")
    assert len({kernel.name for kernel in KERNELS}) == len(KERNELS)


def test_attend_takes_the_tables_choice() -> None:
    packed = pack(LENGTHS["scattered"])
    q, k, v = torch.randn(3, 26, 2, 8, generator=torch.Generator().manual_seed(0))
    expected = attend(q, k, v, packed, bidirectional(), kernel="dense")
    torch.testing.assert_close(attend(q, k, v, packed, bidirectional()), expected)


@pytest.mark.parametrize("name", ["varlen", "flex"])
def test_what_a_kernel_cannot_it_refuses(name: str) -> None:
    packed, q = pack([3]), torch.zeros(3, 1, 8)
    with pytest.raises(ValueError, match="dropout"):
        attend(q, q, q, packed, bidirectional(), dropout=0.1, kernel=name)
    if name == "varlen":
        with pytest.raises(ValueError, match="ranked"):
            attend(q, q, q, packed, RULES["permuted"](packed), kernel=name)
