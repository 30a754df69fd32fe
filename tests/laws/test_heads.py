"""Every head: what it says of a group does not depend on the other groups; losses are sums; weight 0 is absence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from didact import heads
from didact.batch import Batch, Labels, Side
from didact.config import ModelConfig
from didact.heads import (
    HEADS,
    Choice,
    Classes,
    EmbeddingHead,
    Gate,
    Head,
    Matching,
    PairRelation,
    Projection,
    Replacement,
    Span,
    State,
    Vocabulary,
)
from didact.model import Model
from didact.packed import Packed

CONFIG = ModelConfig(vocabulary=23, width=16, layers=1, heads=2, feedforward=16)
SIZES = (3, 1, 5, 2)  # rows of each group

# One of every kind at least; a head that is not here fails `test_all_heads_are_here`.
SPECS: tuple[tuple[str, Head], ...] = (
    ("vocabulary", Vocabulary()),
    ("smoothed", Vocabulary(smoothing=0.1)),
    ("single", Classes(4)),
    ("weighted", Classes(3, pooled=False, class_weights=(0.5, 1.0, 2.0))),
    ("multiple", Classes(3, problem="multiple")),
    ("regression", Classes(1, problem="regression")),
    ("regressions", Classes(2, problem="regression")),
    ("matching", Matching(3)),
    ("matching, several", Matching(3, problem="multiple", class_weights=(0.5, 1.0, 2.0))),
    ("matching, regression", Matching(1, problem="regression")),
    ("span", Span()),
    ("span, dropout", Span(dropout=0.5)),
    ("relation", PairRelation()),
    ("choice", Choice()),
    ("replaced", Replacement()),
    ("mean", EmbeddingHead()),
    ("first", EmbeddingHead(pooling="cls", normalise=True)),
    ("max", EmbeddingHead(pooling="max")),
    ("state", State()),
    ("last", EmbeddingHead(pooling="last")),
    ("projection", Projection(pooling="mean")),
    ("gate", Gate()),
)
EVERY = pytest.mark.parametrize("head", [h for _, h in SPECS], ids=[n for n, _ in SPECS])
GROUPED = pytest.mark.parametrize(
    "head", [h for _, h in SPECS if h.grouped != "never"], ids=[n for n, h in SPECS if h.grouped != "never"]
)


def layers(head: Head) -> tuple[heads.HeadLayers, Tensor]:
    built = head.build(CONFIG).eval()
    generator = torch.Generator().manual_seed(0)
    for p in built.parameters():
        torch.nn.init.normal_(p, std=0.3, generator=generator)
    return built, torch.randn(CONFIG.vocabulary, CONFIG.width, generator=generator)


def borders(head: Head, sizes: Sequence[int]) -> Tensor:
    """Answers from so many rows each -> borders of their groups: where one answer is of several groups, its rows are
    cut into as many, as evenly as they can be.
    """
    parts = [(n * (i + 1)) // head.each - (n * i) // head.each for n in sizes for i in range(head.each)]
    return torch.tensor((0, *parts), dtype=torch.int32).cumsum(0, dtype=torch.int32)


def labels(head: Head, sizes: tuple[int, ...], seed: int, weighted: bool = False) -> Labels:
    """Answers of the right shape for groups of these sizes (or, for a head without groups, for their rows)."""
    generator = torch.Generator().manual_seed(seed)
    n, grouped = sum(sizes), head.grouped == "always"
    m = len(sizes) if grouped else n

    def integers(most: int) -> Tensor:
        return torch.randint(most, (m,), generator=generator)

    if isinstance(head, Span):
        values = torch.stack([torch.randint(s, (2,), generator=generator) for s in sizes])
    elif isinstance(head, Choice):
        values = torch.stack([torch.randint(s, (), generator=generator) for s in sizes])
    elif isinstance(head, EmbeddingHead | Projection | State):
        values = torch.randn(m, CONFIG.width, generator=generator)
    elif isinstance(head, Classes) and head.problem == "multiple":
        values = torch.randint(2, (m, head.classes), generator=generator).float()
    elif isinstance(head, Classes) and head.problem == "regression":
        values = torch.randn(m, head.classes, generator=generator)
    else:
        values = integers(head.classes if isinstance(head, Classes) else 2)
    groups = borders(head, sizes) if grouped else None
    weights = torch.rand(m, generator=generator) if weighted else None
    return Labels("head", torch.arange(n), values, groups, weights)


def join(a: Labels, b: Labels) -> Labels:
    groups = None if a.groups is None else torch.cat([a.groups, b.groups[1:] + a.groups[-1]])
    weights = None if a.weights is None else torch.cat([a.weights, b.weights])
    n = len(a.rows) + len(b.rows)
    return Labels("head", torch.arange(n), torch.cat([a.values, b.values]), groups, weights)


def test_all_heads_are_here() -> None:
    assert {type(head) for _, head in SPECS} == set(HEADS)


@EVERY
def test_json(head: Head) -> None:
    assert heads.from_json(heads.to_json(head)) == head


@GROUPED
def test_a_group_alone_is_the_group_in_any_pack(head: Head) -> None:
    built, table = layers(head)
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(s, CONFIG.width, generator=generator) for s in SIZES]
    cu = torch.tensor((0, *SIZES), dtype=torch.int32).cumsum(0, dtype=torch.int32)
    packed = built(torch.cat(rows), borders(head, SIZES), table)
    losses = []
    for i, own in enumerate(rows):
        alone = built(own, borders(head, SIZES[i : i + 1]), table)
        one_a_row = (
            len(packed) == sum(SIZES) and head.grouped == "always" and not isinstance(head, EmbeddingHead | Projection)
        )
        same = packed[cu[i] : cu[i + 1]] if one_a_row else packed[i : i + 1]
        assert torch.allclose(alone, same, atol=1e-5, rtol=1e-5)
        if head.grouped == "always":
            losses.append(head.loss(alone, labels(head, (SIZES[i],), seed=i)).total)
    if losses:
        together = labels(head, (SIZES[0],), seed=0)
        for i in range(1, len(SIZES)):
            together = join(together, labels(head, (SIZES[i],), seed=i))
        assert torch.allclose(head.loss(packed, together).total, torch.stack(losses).sum(), rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@EVERY
def test_the_loss_of_two_is_the_sum_of_their_losses(head: Head, weighted: bool) -> None:
    built, table = layers(head)
    a, b = labels(head, (3, 1), 3, weighted), labels(head, (2, 4, 1), 4, weighted)
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(4, CONFIG.width, generator=generator), torch.randn(7, CONFIG.width, generator=generator)
    both = join(a, b)
    one, two = head.loss(built(x, a.groups, table), a), head.loss(built(y, b.groups, table), b)
    sum_ = head.loss(built(torch.cat([x, y]), both.groups, table), both)
    assert torch.allclose(sum_.total, one.total + two.total, rtol=1e-5)
    assert sum_.count == pytest.approx(one.count + two.count)
    if sum_.correct is not None and one.correct is not None and two.correct is not None:
        assert torch.allclose(sum_.correct, one.correct + two.correct)
        assert sum_.correct <= sum_.count + 1e-5


@EVERY
def test_weight_zero_is_absence(head: Head) -> None:
    """Answers (and whole groups, empty ones too) of weight 0 change neither the loss nor any gradient."""
    built, table = layers(head)
    generator = torch.Generator().manual_seed(2)
    x, padding = torch.randn(5, CONFIG.width, generator=generator), torch.full((2, CONFIG.width), 1e4)
    real = labels(head, (2, 3), 5)
    m, extra = len(real.values), 2 if real.groups is None else 1
    padded = Labels(
        "head",
        torch.arange(7),
        torch.cat([real.values, real.values.new_zeros(extra, *real.values.shape[1:])]),
        None if real.groups is None else torch.cat([real.groups, *[real.groups[-1:]] * head.each]),  # of no rows
        torch.tensor([1.0] * m + [0.0] * extra),
    )
    results = []
    for rows, asked in ((x, real), (torch.cat([x, padding]), padded)):
        leaf = rows.clone().requires_grad_()
        part = head.loss(built(leaf, asked.groups, table), asked)
        part.total.backward()
        assert leaf.grad is not None
        results.append((part.total.detach(), leaf.grad[:5], part.count, part.correct))
    (total, grad, count, correct), (total_, grad_, count_, correct_) = results
    assert torch.allclose(total, total_, rtol=1e-6)
    assert torch.allclose(grad, grad_, rtol=1e-5, atol=1e-7)
    assert count == count_
    assert correct is correct_ is None or correct == correct_


@pytest.mark.parametrize("weighted", [False, True])
@EVERY
def test_the_loss_at_rows_is_that_of_their_logits(head: Head, weighted: bool) -> None:
    """Without the logits as with them, to the last gradient; and of no rows at all, nothing."""
    for sizes in (SIZES, ()):
        asked = labels(head, SIZES, 6, weighted)
        if not sizes:
            none = None if asked.groups is None else asked.groups[:1]
            weights = None if asked.weights is None else asked.weights[:0]
            asked = Labels("head", asked.rows[:0], asked.values[:0], none, weights)
        found = []
        for at_once in (False, True):
            torch.manual_seed(3)
            built, table = layers(head)
            rows = torch.randn(sum(sizes), CONFIG.width, generator=torch.Generator().manual_seed(2)).requires_grad_()
            table.requires_grad_()
            if at_once:
                part = head.loss_at(built, rows, asked.groups, table, asked)
            else:
                part = head.loss(built(rows, asked.groups, table), asked)
            part.total.backward()
            leaves = [rows, table, *built.parameters()]
            found.append((part, [torch.zeros(()) if leaf.grad is None else leaf.grad for leaf in leaves]))
        (part, gradients), (part_, gradients_) = found
        torch.testing.assert_close(part_.total, part.total)
        assert part_.count == part.count
        assert (part_.correct is None) is (part.correct is None)
        if part.correct is not None and part_.correct is not None:
            torch.testing.assert_close(part_.correct, part.correct)
        for own, other in zip(gradients_, gradients, strict=True):
            torch.testing.assert_close(own.expand_as(other), other)


@EVERY
def test_nothing_asked_is_zero(head: Head) -> None:
    built, table = layers(head)
    nothing = labels(head, (1, 1), 0)
    asked = Labels(
        "head", nothing.rows[:0], nothing.values[:0], None if nothing.groups is None else torch.zeros(1).int()
    )
    part = head.loss(built(torch.zeros(0, CONFIG.width), asked.groups, table), asked)
    assert part.total.item() == 0
    assert part.count == 0


@EVERY
def test_a_sequence_alone_is_the_sequence_in_any_pack(head: Head) -> None:
    """Through the whole model: what a head says of a sequence does not depend on its neighbours. Lengths include 1."""
    generator = torch.Generator().manual_seed(3)
    config = replace(CONFIG, layers=2)
    model = Model(config, {"head": head}, generator).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3, generator=generator)
    sequences = [torch.randint(CONFIG.vocabulary, (n,), generator=generator).tolist() for n in (4, 1, 7, 2)]

    def ask(some: list[list[int]]) -> tuple[Tensor, list[int]]:
        """Every row of every sequence, a group a sequence; and how many logits each sequence has."""
        packed = Packed.of(some)
        groups = borders(head, [len(s) for s in some]) if head.grouped != "never" else None
        rows = torch.arange(len(packed.tokens))
        with torch.inference_mode():
            (logits,) = model(Batch(Side(packed), (Labels("head", rows, rows, groups),)))
        return logits, [len(s) if len(logits) == len(rows) else 1 for s in some]

    together, counts = ask(sequences)
    for own, sequence in zip(together.split(counts), sequences, strict=True):
        assert torch.allclose(own, ask([sequence])[0], atol=1e-5, rtol=1e-5)
