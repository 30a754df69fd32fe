"""The largest scores, against `topk` over all of them."""

from __future__ import annotations

import pytest
import torch

from didact.generation.top import log_total, top, top_of_all


@pytest.mark.parametrize("vocabulary", [3, 64, 200, 1024, 1500])
@pytest.mark.parametrize("k", [1, 2, 8])
def test_of_all_rows_of_a_prompt(vocabulary: int, k: int) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    scores = torch.randn(5, 4, vocabulary, generator=generator)
    scores[1, :, ::2] = float("-inf")
    added = torch.tensor([0.0, -3.0, 2.0, -1e9]).expand(5, 4)
    values, rows, places = top_of_all(scores, added, k)
    shifted = scores + added[:, :, None]
    expected = shifted.flatten(1).topk(min(k, 4 * vocabulary)).values
    torch.testing.assert_close(values, expected)
    assert torch.equal(shifted[torch.arange(5)[:, None], rows, places], values)
    each, at = top(scores[:, 0], k)
    torch.testing.assert_close(each, scores[:, 0].topk(min(k, vocabulary)).values)
    assert torch.equal(scores[:, 0].gather(1, at), each)


@pytest.mark.parametrize("rows", [0, 1, 3, 40])
def test_log_totals(rows: int) -> None:
    scores = torch.randn(rows, 30000, generator=torch.Generator().manual_seed(0)) * 50
    scores[1:2] = float("-inf")
    torch.testing.assert_close(log_total(scores), scores.logsumexp(1))
