"""The distance rule's index table."""

from __future__ import annotations

import torch

from didact.nn.distance import DistanceTerms, gather


def test_far_rows_share_the_last_index() -> None:
    terms = DistanceTerms(torch.tensor([10, 11, 12, 13, 14]))
    at = torch.arange(6)
    i = terms.relate(at[:, None], at[None, :])
    assert i[0].tolist() == [12, 13, 14, 14, 14, 14]
    assert i[5].tolist() == [10, 10, 10, 10, 11, 12]


def test_each_row_reads_its_own_terms() -> None:
    by = torch.arange(2 * 3 * 4).view(2, 3, 4)  # heads, rows, indices
    i = torch.tensor([[0, 1], [3, 3], [2, 0]])
    assert gather(by, i).tolist() == [[[0, 1], [7, 7], [10, 8]], [[12, 13], [19, 19], [22, 20]]]
