"""What stands between a row and the vocabulary, as the configuration has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from didact.batch import Labels
from didact.config import ModelConfig, Norms, Output
from didact.heads import Vocabulary

CONFIG = ModelConfig(11, 8, 1, 2, 8)


def test_nothing_but_the_word_embeddings() -> None:
    """GPT-2's: tied, it has no parameter of its own."""
    layers = Vocabulary().build(replace(CONFIG, output=Output(transform=False, bias=False)))
    assert list(layers.parameters()) == []
    rows, table = torch.randn(3, 8), torch.randn(11, 8)
    assert torch.equal(layers(rows, None, table), rows @ table.T)


def test_every_part_is_an_option() -> None:
    config = replace(CONFIG, output=Output(dense_bias=False), head_activation="relu", norms=Norms(bias=False, eps=0.1))
    layers = Vocabulary().build(config)
    for p in layers.parameters():
        torch.nn.init.normal_(p)
    own = dict(layers.named_parameters())
    assert sorted(own) == ["bias", "dense.weight", "norm.weight"]
    rows, table = torch.randn(3, 8), torch.randn(11, 8)
    hidden = F.layer_norm(F.relu(rows @ own["dense.weight"].T), (8,), own["norm.weight"], eps=0.1)
    torch.testing.assert_close(layers(rows, None, table), hidden @ table.T + own["bias"])


def test_a_bias_begins_at_frequencies_where_there_is_one() -> None:
    counts = torch.arange(11.0)
    layers = Vocabulary().build(replace(CONFIG, output=Output(bias=False)))
    layers.start(counts)  # type: ignore[operator]
    with_bias = Vocabulary().build(CONFIG)
    with_bias.start(counts)  # type: ignore[operator]
    torch.testing.assert_close(with_bias.bias.exp(), (counts + 1) / (counts + 1).sum())  # type: ignore[operator]


def test_narrow_embeddings_need_the_layer_that_narrows() -> None:
    with pytest.raises(ValueError, match=r"tied: embeddings 4 wide"):
        Vocabulary().build(replace(CONFIG, embedding_width=4, output=Output(transform=False)))


def test_the_head_smooths_the_answers_it_trains_on() -> None:
    logits = torch.randn(4, 11, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values = torch.arange(4)
    labels = Labels("vocabulary", values, values)
    expected = F.cross_entropy(logits, values, reduction="sum", label_smoothing=0.2)
    assert torch.allclose(Vocabulary(smoothing=0.2).loss(logits, labels).total, expected)
    with pytest.raises(ValueError, match="smoothing 1"):
        Vocabulary(smoothing=1.0)
