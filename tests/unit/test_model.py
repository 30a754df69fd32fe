"""The model: names, ties, generators, asked rows; embedding, filling and predicting with a pretrained one."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from didact.batch import Batch, Labels, Side
from didact.config import ModelConfig, Summary
from didact.errors import InputError
from didact.heads import Classes, EmbeddingHead, PairRelation, Vocabulary
from didact.model import Model, Pretrained
from didact.packed import Packed
from didact.tasks import Classify
from didact.tokenization.tokenizer import Tokenizer

CONFIG = ModelConfig(36, 16, 2, 2, 24)
HEADS = {"vocabulary": Vocabulary(), "classes": Classes(3, dropout=0.0)}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##b", "##c", "##d"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return Tokenizer.load(tmp_path)


def drawn(seed: int, heads: dict = HEADS) -> Model:
    return Model(CONFIG, heads, torch.Generator().manual_seed(seed))


def batch(model: Model) -> Batch:
    side = Side(Packed.of([[2, 5, 6, 3], [2, 9, 3]]))
    rows = {"vocabulary": torch.tensor([1, 5]), "classes": torch.tensor([0, 4])}
    return Batch(side, tuple(Labels(name, rows[name], torch.tensor([1, 2])) for name in model.specs))


def test_the_tied_matrix_is_one_parameter() -> None:
    model = drawn(0)
    assert "heads.vocabulary.decoder.weight" not in model.state_dict()
    loss = sum(
        model.loss(logits, asked).total for logits, asked in zip(model(batch(model)), batch(model).labels, strict=True)
    )
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    table = model.core.embedding.word.weight
    assert table.grad is not None
    assert (table.grad.abs().sum(1) > 0).all()  # every row, through the softmax
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.core.embedding.word.weight.zero_()
    assert not torch.equal(twin(batch(model))[0], model(batch(model))[0])


def test_weights_depend_on_the_generator_and_the_core_not_on_the_heads() -> None:
    a, b, c, bare = drawn(0), drawn(0), drawn(1), drawn(0, {})
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name])
    assert not torch.equal(a.core.embedding.word.weight, c.core.embedding.word.weight)
    for name, tensor in bare.core.state_dict().items():
        assert torch.equal(tensor, a.core.state_dict()[name])


def test_a_pooled_head_needs_a_pooler() -> None:
    with pytest.raises(ValueError, match="pooler"):
        Model(ModelConfig(36, 16, 2, 2, 24, pooler=False), {"pair": PairRelation()})


@pytest.mark.parametrize(
    "summary",
    [Summary(), Summary(activation="relu", biases=False, norm=True), Summary(dense=False), Summary(dropout=True)],
    ids=str,
)
def test_the_pooler_reads_the_mean_row(summary: Summary) -> None:
    """Groups are averaged first, then through what `summary` says, written out; row by row where nothing is grouped."""
    model = Model(replace(CONFIG, summary=summary), {"classes": Classes(3, dropout=0.0)}).eval()
    side = Side(Packed.of([[2, 5, 6, 3], [2, 9, 3]]))
    hidden = model.hidden(side).main
    groups = torch.tensor([0, 4, 7])
    (means,) = model(Batch(side, (Labels("classes", torch.arange(7), torch.tensor([1, 2]), groups),)))
    (firsts,) = model(Batch(side, (Labels("classes", torch.tensor([0, 4]), torch.tensor([1, 2])),)))
    own = model.state_dict()
    for rows, found in ((torch.stack([hidden[:4].mean(0), hidden[4:].mean(0)]), means), (hidden[[0, 4]], firsts)):
        expected = rows
        if summary.dense:
            expected = rows @ own["pooler.dense.weight"].t() + own.get("pooler.dense.bias", 0.0)
            expected = expected.relu() if summary.activation == "relu" else expected.tanh()
        if summary.norm:
            weight, bias = own["pooler.norm.weight"], own["pooler.norm.bias"]
            expected = torch.nn.functional.layer_norm(expected, (16,), weight, bias, 1e-12)
        expected = expected @ own["heads.classes.dense.weight"].t() + own["heads.classes.dense.bias"]
        assert torch.allclose(found, expected, atol=1e-5)
    assert any(name.startswith("pooler.") for name in own) is summary.dense


def test_answers_come_in_the_order_of_the_questions() -> None:
    model = drawn(0).eval()
    both = batch(model)
    swapped = Batch(both.inputs, both.labels[::-1])
    a, b = model(both), model(swapped)
    assert torch.equal(a[0], b[1])
    assert torch.equal(a[1], b[0])
    assert a[0].shape == (2, 36)
    assert a[1].shape == (2, 3)


def test_embed(tokenizer: Tokenizer) -> None:
    given = Pretrained(drawn(0), tokenizer)
    texts = ["a b c", "d", "", "e f g h i"]
    vectors = given.embed(texts, batch_tokens=6)
    assert vectors.shape == (4, 16)
    assert vectors.dtype == np.float32
    for text, vector in zip(texts, vectors, strict=True):
        assert np.allclose(given.embed([text])[0], vector, atol=1e-5)
    assert given.embed([]).shape == (0, 16)
    assert not np.allclose(given.embed(["a b"], "cls"), given.embed(["a b"], "max"))


def test_embed_follows_its_own_head(tokenizer: Tokenizer) -> None:
    given = Pretrained(drawn(0, {"embedding": EmbeddingHead("cls", normalise=True, maximum=4)}), tokenizer)
    cut, whole = given.embed(["a b c d e", "a b"])
    assert np.linalg.norm(cut) == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(cut, whole, atol=1e-6)  # four tokens are read: [CLS] a b [SEP]


def test_a_text_longer_than_the_model_is_cut(tokenizer: Tokenizer) -> None:
    given = Pretrained(drawn(0), tokenizer)
    long = "a " * 600
    assert given.embed([long]).shape == (1, 16)


def test_fill(tokenizer: Tokenizer) -> None:
    given = Pretrained(drawn(0), tokenizer)
    found = given.fill("a [MASK] c [MASK]", top=3)
    assert [len(candidates) for candidates in found] == [3, 3]
    for candidates in found:
        assert all(a.probability >= b.probability for a, b in pairwise(candidates))
        assert all(tokenizer.id_of(c.token) is not None or c.token.startswith("<id") for c in candidates)
    assert len(given.fill("[MASK]", top=1000)[0]) == CONFIG.vocabulary


def test_what_it_cannot_do_is_said(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="no blank"):
        Pretrained(drawn(0), tokenizer).fill("a b c")
    with pytest.raises(InputError, match="no vocabulary head"):
        Pretrained(drawn(0, {}), tokenizer).fill("[MASK]")
    with pytest.raises(InputError, match="no task"):
        Pretrained(drawn(0), tokenizer).predict([{"text": "a"}])


def test_predict(tokenizer: Tokenizer) -> None:
    task = Classify(labels=("no", "maybe", "yes"))
    given = Pretrained(Model(CONFIG, task.heads(), torch.Generator().manual_seed(0)), tokenizer, task=task)
    texts = ["a b c", "d", "e f g h i"]
    rows = given.predict([{"text": text} for text in texts])
    assert len(rows) == 3
    for text, row in zip(texts, rows, strict=True):
        assert row[task.answer] in ("no", "maybe", "yes")
        assert given.predict([{"text": text}])[0][task.answer] == row[task.answer]
