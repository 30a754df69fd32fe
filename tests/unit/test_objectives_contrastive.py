"""didact.objectives.contrastive: InfoNCE written out, sentence-transformers' loss, groups, and a relation learned."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from data_tools import example
from training_tools import FIRST, SYMBOLS, VOCABULARY, model

from didact.batch import Example
from didact.data.lay import lay
from didact.data.parts import parted, side_by_side
from didact.objectives.contrastive import ANCHOR, NEGATIVE, POSITIVE, Contrastive, info_nce

KEYS = np.zeros(0, np.uint64)


def texts(count: int, parts: int, seed: int = 0) -> list[Example]:
    """Examples of so many parts each, every text of other tokens."""
    rng = np.random.default_rng(seed)
    each = [
        [replace(example(int(rng.integers(3, 8)), 100 * i + k, VOCABULARY), source_bytes=None) for k in range(parts)]
        for i in range(count)
    ]
    return [own[0] if parts == 1 else side_by_side(own) for own in each]


def written_out(groups: list[tuple[Any, Any, Any]], temperature: float) -> list[float]:
    """-log(exp(cos(a, p) / t) / sum over all candidates), one anchor at a time."""

    def cos(a: Any, b: Any) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    losses = []
    for anchors, positives, negatives in groups:
        for anchor, positive in zip(anchors, positives, strict=True):
            total = sum(math.exp(cos(anchor, c) / temperature) for c in (*positives, *negatives))
            losses.append(-math.log(math.exp(cos(anchor, positive) / temperature) / total))
    return losses


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_info_nce_written_out(temperature: float) -> None:
    """Several groups of different sizes, with and without negatives, in one pack; and its gradient, by differences."""
    rng = np.random.default_rng(0)
    sizes = [(3, 3, 2), (1, 1, 4), (2, 2, 0), (1, 1, 0)]
    groups = [tuple(rng.normal(size=(n, 6)) for n in own) for own in sizes]
    roles = torch.tensor([role for own in sizes for role, n in enumerate(own) for _ in range(n)])
    vectors = torch.tensor(np.concatenate([part for own in groups for part in own]), dtype=torch.float32)
    losses, right = info_nce(vectors, roles, temperature)
    wanted = written_out(groups, temperature)  # type: ignore[arg-type]
    assert losses[roles == ANCHOR].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert not losses[roles != ANCHOR].any()
    assert not right[roles != ANCHOR].any()
    assert losses[roles == ANCHOR][-1] == 0
    leaf = vectors.clone().requires_grad_()
    info_nce(leaf, roles, temperature)[0].sum().backward()
    assert leaf.grad is not None

    def total(at: np.ndarray) -> float:
        cuts = np.cumsum([n for own in sizes for n in own])[:-1]
        parts = iter(np.split(at, cuts))
        return sum(written_out([(next(parts), next(parts), next(parts)) for _ in sizes], temperature))

    base = vectors.numpy().astype(np.float64)
    for place in [(0, 0), (4, 2), (7, 5), (9, 1), (12, 3)]:
        step = np.zeros_like(base)
        step[place] = 1e-5
        slope = (total(base + step) - total(base - step)) / 2e-5
        assert leaf.grad[place] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.filterwarnings("ignore")  # of a library that is looked at, not used
def test_as_sentence_transformers(negatives: bool) -> None:
    library = pytest.importorskip("sentence_transformers.losses")
    vectors = [torch.randn(7, 8, generator=torch.Generator().manual_seed(k)) for k in range(2 + negatives)]

    class Given(torch.nn.Module):
        """A model that embeds the i-th column as the i-th of our vectors."""

        def forward(self, features: Any) -> Any:
            return {"sentence_embedding": features["vectors"]}

    theirs = library.MultipleNegativesRankingLoss(Given(), scale=20.0)
    wanted = theirs([{"vectors": v} for v in vectors], None)
    wanted = wanted if isinstance(wanted, torch.Tensor) else sum(wanted.values())
    roles = torch.tensor([0] * 7 + [1] * 7 + [2] * 7 * negatives)
    losses, _ = info_nce(torch.cat(vectors), roles, 0.05)
    assert float(losses.sum() / 7) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "last", "mean"])
def test_a_group_is_one_sequence_of_parts(pooling: Any) -> None:
    objective = Contrastive(group=3, pooling=pooling)
    triples = texts(7, 3)
    made = objective(triples, np.zeros(7, np.uint64)).prepared()
    assert [len(p.labels[0].values) for p in made] == [9, 9, 3]
    own = parted(made[1].inputs)
    wanted = [parted(triples[i])[role] for role in range(3) for i in (3, 4, 5)]
    assert [p.tokens.tolist() for p in own] == [p.tokens.tolist() for p in wanted]
    (asked,) = made[1].labels
    assert asked.values.tolist() == [ANCHOR] * 3 + [POSITIVE] * 3 + [NEGATIVE] * 3
    assert asked.count == 3
    rows = [asked.rows[a:b].tolist() for a, b in zip(asked.groups, asked.groups[1:], strict=False)]
    starts = np.cumsum([0, *(len(p) for p in own)])
    each = [list(range(a, b)) for a, b in pairwise(starts)]
    assert rows == [e if pooling == "mean" else e[:1] if pooling == "cls" else e[-1:] for e in each]


def test_texts_alone_are_read_twice() -> None:
    objective = Contrastive(group=2)
    singles = texts(3, 1)
    made = objective(singles, np.zeros(3, np.uint64)).prepared()
    assert [p.tokens.tolist() for p in parted(made[0].inputs)] == [singles[i].tokens.tolist() for i in (0, 1, 0, 1)]
    assert (made[0].labels[0].count, made[1].labels[0].count) == (2, 0)  # one alone has no rivals
    assert made[1].labels[0].values.tolist() == [ANCHOR, POSITIVE]


def test_dropout_makes_the_two_readings_differ() -> None:
    objective = Contrastive(group=4, projection=False)
    batch = objective(texts(4, 1), np.zeros(4, np.uint64)).batch([0])
    net = model(objective, dropout=0.3, init_std=0.3)
    torch.manual_seed(0)
    (vectors,) = net.train()(batch)
    assert not torch.allclose(vectors[:4], vectors[4:], atol=1e-3)
    (vectors,) = net.eval()(batch)
    assert torch.allclose(vectors[:4], vectors[4:], atol=1e-6)


def test_micro_batches_of_groups_add_up() -> None:
    """However whole groups are dealt to packs, the sums are one batch's; and a group split would not be."""
    objective = Contrastive(group=3, pooling="mean")
    net = model(objective, init_std=0.3)
    flat = objective(texts(9, 2), np.zeros(9, np.uint64))
    whole = objective.loss({"main": net}, flat.batch([0, 1, 2])).parts["nce"]
    each = [objective.loss({"main": net}, flat.batch(some)).parts["nce"] for some in ([2], [0, 1])]
    assert sum(p.total.item() for p in each) == pytest.approx(whole.total.item(), rel=1e-5)
    assert sum(p.count for p in each) == whole.count == 9
    others = replace(objective, group=9)
    more = others.loss({"main": net}, others(texts(9, 2), np.zeros(9, np.uint64)).batch([0])).parts["nce"]
    assert more.total.item() > 1.2 * whole.total.item()


def pairs(count: int, rng: np.random.Generator, related: bool = True) -> list[Example]:
    """The first text of a pair is a symbol of the one half, three times; the second its partner of the other half."""
    half, found = SYMBOLS // 2, []
    for _ in range(count):
        symbol = int(rng.integers(half))
        partner = symbol if related else int(rng.integers(half))
        parts = [
            np.concatenate([[1], np.full(3, FIRST + base + s), [2]])
            for base, s in ((0, symbol), (half, (partner * 5 + 1) % half))
        ]
        special = np.array([True, False, False, False, True])
        found.append(side_by_side([Example(p.astype(np.int64), special, np.zeros(5, np.int64)) for p in parts]))
    return found


@pytest.mark.parametrize("related", [True, False])
def test_a_planted_relation_is_learned(related: bool) -> None:
    """Halfway from guessing to the best there is (ties of equal pairs are a toss); from unrelated pairs it is not."""
    objective = Contrastive(group=8, temperature=0.2, pooling="mean", projection=False)
    net = model(objective, init_std=0.1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        batch = objective(pairs(32, rng, related), np.zeros(32, np.uint64)).batch(range(4))
        optimizer.zero_grad()
        objective.loss({"main": net}, batch).scaled(batch.counts).backward()
        optimizer.step()
    held = pairs(256, np.random.default_rng(1))
    batch = objective(held, np.zeros(256, np.uint64)).batch(range(32))
    part = objective.loss({"main": net.eval()}, batch).parts["nce"]
    symbols = [int(e.tokens[1]) for e in held]
    groups = [symbols[i : i + 8] for i in range(0, 256, 8)]
    best = np.mean([math.log(own.count(s)) for own in groups for s in own])
    halfway = (math.log(8) + best) / 2
    reached = float(part.total.detach()) / part.count
    assert reached <= halfway if related else reached > halfway


def test_an_example_comes_apart_as_it_was_put_together() -> None:
    (one,) = texts(1, 3)
    again = side_by_side(parted(one))
    assert np.array_equal(again.tokens, one.tokens)
    assert again.parts is not None
    assert np.array_equal(again.parts, one.parts)  # type: ignore[arg-type]
    assert len(lay([one]).batch([0]).inputs.packed.lengths) == 3


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"group": 1}]
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Contrastive(**wrong)
