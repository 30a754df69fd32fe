"""didact.training.rows: AdamW of the whole table, by the rows that were read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from training_tools import masked, model, quick, stream_of

from didact.model import Model
from didact.objectives import NextSentence
from didact.training import ready
from didact.training.checkpoint import RunFolder
from didact.training.clipping import clip, gradient_norm
from didact.training.loop import fit
from didact.training.rows import AdamWByRows, sparse_tables
from didact.training.step import Step

READ = 20  # rows a step
MASKED = masked()


def table(width: int, vocabulary: int = 600) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(vocabulary, width, generator=torch.Generator().manual_seed(0)))


def backward(weight: torch.nn.Parameter, step: int, sparse: bool, most: int) -> None:
    """A gradient of `READ` rows among the first `most`, the same for either kind."""
    generator = torch.Generator().manual_seed(step)
    read = torch.randperm(most, generator=generator)[:READ]
    by = torch.randn(READ, weight.shape[1], generator=generator)
    by[0] = 0.0  # a row that is read and gets nothing
    (F.embedding(read, weight, sparse=sparse) * by).sum().backward()


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("width", [7, 64])
def test_it_is_adamw_of_the_whole_table(width: int, decay: float) -> None:
    """Few rows, most rows, gradients that are divided, decay or none. To the bit, but where numbers fill no register:
    which those are depends on what lies before them.
    """
    whole, own = table(width), table(width)
    same = {"rtol": 0, "atol": 0} if width == 64 else {"rtol": 1e-6, "atol": 1e-6}
    settings: dict[str, Any] = {"lr": 1e-2, "weight_decay": decay, "fused": True}
    plain, by_rows = torch.optim.AdamW([whole], **settings), AdamWByRows([own], **settings)
    for step in range(40):
        most = 60 if step < 25 else 600
        for weight, optimizer, sparse in ((whole, plain, False), (own, by_rows, True)):
            backward(weight, step, sparse, most)
            if step % 3 == 0:
                clip([weight], 0.5, optimizer)
            else:
                optimizer.grad_scale = None  # type: ignore[attr-defined]
            optimizer.step()
            optimizer.zero_grad()
        torch.testing.assert_close(whole, own, **same)
    for kind in ("exp_avg", "exp_avg_sq", "step"):
        torch.testing.assert_close(plain.state[whole][kind], by_rows.state[own][kind], **same)


def test_it_goes_on_from_its_moments() -> None:
    """What has moments is read off them: a restart changes no bit."""
    one, other = table(16), table(16)
    first = AdamWByRows([one], lr=1e-2, fused=True)
    for step in range(6):
        backward(one, step, True, 60)
        first.step()
        first.zero_grad()
    other.data.copy_(one.data)
    second = AdamWByRows([other], lr=1e-2, fused=True)
    second.state[other] = {name: value.clone() for name, value in first.state[one].items()}
    for step in range(6, 12):
        for weight, optimizer in ((one, first), (other, second)):
            backward(weight, step, True, 90)
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(one, other)


def test_the_norm_of_rows() -> None:
    """Rows that are read twice count as their sum."""
    norms = []
    for sparse in (True, False):
        weight = table(16)
        (F.embedding(torch.tensor([3, 5, 3]), weight, sparse=sparse) * torch.arange(1.0, 4.0)[:, None]).sum().backward()
        norms.append(float(gradient_norm([weight])))
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert norms[0] == pytest.approx((16 * (4.0**2 + 2.0**2)) ** 0.5, rel=1e-6)


def test_only_what_nothing_else_asks_comes_by_rows() -> None:
    """A table that is the vocabulary head's matrix too has a gradient of every row."""
    pair, words, untied = model(NextSentence()), model(MASKED), model(MASKED, tied=False)
    for own, sparse in ((pair, True), (words, False), (untied, True)):
        sparse_tables(own)
        assert own.core.embedding.word.sparse is sparse


def test_a_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradients by rows and without, steps of two micro-batches included."""
    trained: list[Model] = []
    for name in ("by rows", "whole"):
        own = model(NextSentence(), vocabulary=400)
        stream = stream_of(NextSentence(), micro_tokens=128)
        fit(Step({"main": own}, NextSentence()), stream, quick(12, clip=0.1), RunFolder(tmp_path / name))
        assert own.core.embedding.word.sparse is (name == "by rows")
        trained.append(own)
        monkeypatch.setattr(ready, "sparse_tables", lambda _: None)
    for ours, theirs in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
