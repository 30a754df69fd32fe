"""Input embeddings."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from nn_tools import pack, tiny

from didact.nn.transformer import build


def test_words_positions_and_segments_are_added_and_normed() -> None:
    embedding = build(tiny()).embedding
    packed = pack([3, 4])
    table = dict(embedding.named_parameters())
    total = (
        table["word.weight"][packed.tokens]
        + table["position.weight"][packed.positions]
        + table["segment.weight"][packed.segments]
    )
    expected = F.layer_norm(total, (16,), table["norm.weight"], table["norm.bias"], 1e-12)
    torch.testing.assert_close(embedding(packed), expected)
    unsegmented = embedding(replace(packed, segments=None))
    torch.testing.assert_close(unsegmented, embedding(replace(packed, segments=torch.zeros_like(packed.tokens))))


def test_narrow_embeddings_are_projected_up_with_a_bias() -> None:
    embedding = build(tiny(embedding_width=6)).embedding
    shapes = {name: tuple(p.shape) for name, p in embedding.named_parameters()}
    assert shapes == {
        "word.weight": (40, 6),
        "position.weight": (32, 6),
        "segment.weight": (2, 6),
        "norm.weight": (6,),
        "norm.bias": (6,),
        "project.weight": (16, 6),
        "project.bias": (16,),
    }
    assert embedding(pack([3])).shape == (3, 16)


def test_a_model_of_one_segment_knows_no_other() -> None:
    embedding = build(tiny(segments=1)).embedding
    packed = pack([3, 4])
    assert packed.segments is not None
    assert packed.segments.any()
    assert torch.equal(embedding(packed), embedding(replace(packed, segments=None)))


def test_embeddings_as_wide_as_the_model_are_projected_where_that_is_said() -> None:
    assert build(tiny(embedding_width=16)).embedding.project is None
    project = build(tiny(embedding_width=16, embedding_projected=True)).embedding.project
    assert project is not None
    assert tuple(project.weight.shape) == (16, 16)


def test_dropout_is_only_for_training() -> None:
    embedding = build(tiny(dropout=0.5)).embedding
    packed = pack([32])
    assert (embedding.train()(packed) == 0).float().mean() > 0.4
    assert torch.equal(embedding.eval()(packed), embedding(packed))
