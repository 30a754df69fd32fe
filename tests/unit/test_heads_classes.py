"""Class weights and their normaliser, and what cannot be asked."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from didact.batch import Labels
from didact.heads import Classes
from didact.heads.classes import balanced


def test_balanced_weights_make_the_two_normalisers_agree() -> None:
    values = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = balanced((6, 3, 1))
    assert torch.tensor(weights)[values].mean() == pytest.approx(1.0)
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    part = Classes(3, class_weights=weights).loss(logits, Labels("classes", torch.arange(10), values))
    expected = F.cross_entropy(logits, values, torch.tensor(weights))
    assert part.total / part.count == pytest.approx(expected.item(), rel=1e-5)


def test_a_class_that_never_occurs_weighs_nothing() -> None:
    assert balanced((4, 0)) == (0.5, 0.0)


def test_several_labels_weigh_their_positives() -> None:
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([[0, 1], [1, 1], [0, 0], [1, 0]])
    part = Classes(2, "multiple", class_weights=(1.0, 3.0)).loss(logits, Labels("c", torch.arange(4), values))
    expected = F.binary_cross_entropy_with_logits(logits, values.float(), pos_weight=torch.tensor([1.0, 3.0]))
    assert part.total / part.count == pytest.approx(expected.item(), rel=1e-5)
    assert part.correct == ((logits > 0) == values.bool()).all(-1).sum()


def test_a_bfloat16_logit_is_counted_in_float32() -> None:
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    part = Classes(3).loss(logits, Labels("c", torch.arange(7), torch.zeros(7, dtype=torch.int64)))
    assert part.total.dtype == torch.float32


@pytest.mark.parametrize(
    "wrong",
    [{"class_weights": (1.0,)}, {"names": ("a",)}, {"problem": "regression", "class_weights": (1.0, 1.0)}],
    ids=str,
)
def test_what_does_not_fit(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"classes|regression"):
        Classes(2, **wrong)  # type: ignore[arg-type]
