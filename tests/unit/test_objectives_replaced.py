"""Replaced-token detection: drawing, what counts as replaced, what is shared, and a dense re-implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_tools import example
from training_tools import MASK, VOCABULARY, Chain, masked, model, quick, replaced, step_of, stream_of

from didact import objectives
from didact.batch import Batch
from didact.config import ModelConfig
from didact.data.stream import BySequences, Stream
from didact.heads import Replacement, Vocabulary
from didact.model import beside
from didact.objectives import Combined, NextSentence, Replaced, Spans
from didact.objectives.replaced import draw
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.schedule import Schedule
from didact.training.state import read_tensors
from didact.training.step import Step

SHARING = pytest.mark.parametrize("sharing", ["all", "difference", "none"])


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_tokens_are_drawn_with_their_probability(temperature: float) -> None:
    """A histogram of evenly spread noise is the softmax, to a cell's width; more rows than one block of them holds."""
    logits = 2.0 * torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    each = 100_000
    noise = (torch.arange(each) + 0.5) / each
    for row in logits:
        drawn = draw(row.expand(each, -1), noise, temperature)
        share = torch.bincount(drawn, minlength=7) / each
        torch.testing.assert_close(share, torch.softmax(row / temperature, -1), atol=2e-5, rtol=0)


def test_the_ends_of_the_noise() -> None:
    """What cannot be drawn is not, whichever number comes: the first and the last piece among them."""
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(2, 1)
    assert draw(logits, torch.tensor([0.0, 1.0 - 2.0**-24])).tolist() == [1, 3]
    assert draw(torch.zeros(0, 5), torch.zeros(0)).tolist() == []


def test_noise_is_even_and_its_own() -> None:
    batches = Stream(Chain(3000), replaced(rate=0.5), BySequences(3000), 4096)[0]
    noise = torch.cat([b.labels[0].noise for b in batches]).double()
    assert noise.min() >= 0.0
    assert noise.max() < 1.0
    assert len(torch.unique(noise)) > 0.99 * len(noise)
    share = torch.histc(noise, 10, 0.0, 1.0) / len(noise)
    assert share.tolist() == pytest.approx([0.1] * 10, abs=0.01)


def prepared(objective: Replaced, count: int = 200) -> Any:
    examples = [example(30, seed, VOCABULARY) for seed in range(count)]
    return examples, objective(examples, np.arange(count, dtype=np.uint64)).prepared()


def test_what_is_asked() -> None:
    """The generator: the chosen, 85 % of them [MASK] and the rest as written. The model: all that are not special."""
    fates = np.zeros(2)
    for e, p in zip(*prepared(replaced(rate=0.3)), strict=True):
        mlm, rtd = p.labels
        assert (mlm.name, mlm.head, rtd.name, rtd.head) == ("mlm", "vocabulary", "rtd", "replaced")
        assert np.array_equal(mlm.values, e.tokens[mlm.rows])
        assert np.array_equal(rtd.rows, np.flatnonzero(~e.special))
        assert np.array_equal(rtd.values, e.tokens[rtd.rows])
        assert mlm.noise is not None
        assert len(mlm.noise) == len(mlm.rows)
        now = p.inputs.tokens[mlm.rows]
        assert ((now == MASK) | (now == mlm.values)).all()
        fates += [(now == MASK).sum(), (now != MASK).sum()]
    assert fates / fates.sum() == pytest.approx([0.85, 0.15], abs=0.02)


def test_choice_and_masks_are_those_of_masked_words() -> None:
    """The control asks what masked words with the same shares ask; the generator, the same again."""
    plain = masked(rate=0.3, mask=0.85, random=0.0, select=Spans())
    for fields in ({}, {"control": True}):
        other = replaced(rate=0.3, select=Spans(), **fields)
        for (_, a), (_, b) in zip(zip(*prepared(plain), strict=True), zip(*prepared(other), strict=True), strict=True):
            assert np.array_equal(a.inputs.tokens, b.inputs.tokens)
            assert np.array_equal(a.labels[0].rows, b.labels[0].rows)
            assert np.array_equal(a.labels[0].values, b.labels[0].values)
            assert np.array_equal(a.hidden, b.hidden)


def test_the_control_is_a_model_alone() -> None:
    control = replaced(control=True)
    assert control.heads == {"vocabulary": Vocabulary()}
    assert control.companions(ModelConfig()) == {}
    assert list(step_of(control).models) == ["main"]
    assert (control.comparable, replaced().comparable) == (True, False)
    batch = stream_of(control)[0][0]
    assert list(step_of(control)(batch).parts) == ["mlm"]


class Sure(torch.nn.Module):
    """A generator that is sure of one piece, and a model that says what it was given to read."""

    def __init__(self, piece: int) -> None:
        super().__init__()
        self.piece = piece
        self.read: Batch | None = None

    def forward(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        self.read = batch
        (asked,) = batch.labels
        if asked.head == "replaced":
            return (torch.zeros(len(asked.rows)),)
        logits = torch.full((len(asked.rows), VOCABULARY), -50.0)
        logits[:, self.piece] = 50.0
        return (logits,)

    def loss(self, logits: torch.Tensor, asked: Any) -> Any:
        head = Replacement() if asked.head == "replaced" else Vocabulary()
        return head.loss(logits, asked)


def test_what_was_drawn_by_chance_as_written_is_not_replaced() -> None:
    objective = replaced(rate=0.5)
    batch = Stream(Chain(64), objective, BySequences(64), 4096)[0][0]
    mlm, rtd = batch.labels
    piece = int(mlm.values[0])
    main, filler = Sure(0), Sure(piece)
    loss = objective.loss({"main": main, "generator": filler}, batch)  # type: ignore[dict-item]
    assert main.read is not None
    tokens = main.read.inputs.packed.tokens
    originals = batch.inputs.packed.tokens.clone()
    originals[rtd.rows] = rtd.values
    chosen = torch.zeros(len(tokens), dtype=torch.bool)
    chosen[mlm.rows] = True
    assert (tokens[chosen] == piece).all()
    assert torch.equal(tokens[~chosen], originals[~chosen])
    wanted = {row: int(row in set(mlm.rows.tolist()) and originals[row] != piece) for row in rtd.rows.tolist()}
    (asked,) = main.read.labels
    assert dict(zip(asked.rows.tolist(), asked.values.tolist(), strict=True)) == wanted
    assert 0 < (mlm.values == piece).sum() < len(mlm.values), "some are drawn as they were, by chance"
    assert loss.parts["rtd"].marked is not None
    assert loss.parts["rtd"].marked.tolist() == [0.0, 0.0, sum(wanted.values())]
    assert loss.parts["rtd"].weight == 50.0
    again = Stream(Chain(64), objective, BySequences(64), 4096)[0][0]
    assert torch.equal(batch.inputs.packed.tokens, again.inputs.packed.tokens), "the batch is as it was"


def gradients(step: Step, name: str) -> dict[str, torch.Tensor]:
    """Of one part of the loss alone, by parameter."""
    step.zero_grad()
    step(stream_of(step.base)[0][0]).parts[name].total.backward()
    return {n: p.grad for n, p in step.named_parameters() if p.grad is not None and p.grad.any()}


@SHARING
def test_who_trains_what(sharing: Any) -> None:
    """The generator learns nothing from detection, except through tables that are one; a difference is the model's."""
    step = step_of(replaced(sharing=sharing), init_std=0.3)
    own = {
        part: {n for n in gradients(step, part) if "embedding" in n and "project" not in n} for part in ("mlm", "rtd")
    }
    rest = {part: {n.split(".")[1] for n in gradients(step, part) if "blocks" in n} for part in ("mlm", "rtd")}
    assert rest == {"mlm": {"generator"}, "rtd": {"main"}}
    if sharing == "all":
        assert own["mlm"] == own["rtd"]
        assert all(name.startswith("models.main.") for name in own["mlm"])
    else:
        assert all(name.startswith("models.generator.") for name in own["mlm"])
        assert all(name.startswith("models.main.") for name in own["rtd"])
        assert any("parametrizations" in name for name in own["rtd"]) == (sharing == "difference")


BASE = {"width": 768, "heads": 12, "feedforward": 3072, "embedding_width": None}
LARGE = {"width": 1024, "heads": 16, "feedforward": 4096, "layers": 24, "embedding_width": 1024}
CHOSEN = {"generator_layers": 6, "generator_width": 96, "generator_heads": 3, "generator_feedforward": 100}


@pytest.mark.parametrize(
    ("fields", "main", "wanted"),
    [
        ({}, {}, (64, 1, 256, 12, 128)),  # ELECTRA-Small, -Base and -Large (table 6)
        ({"generator_size": 1 / 3}, BASE, (256, 4, 1024, 12, 768)),
        ({}, LARGE, (256, 4, 1024, 24, 1024)),
        (CHOSEN, {}, (96, 3, 100, 6, 128)),
        ({"generator_size": 1.0, "generator_depth": 0.5}, BASE, (768, 12, 3072, 6, None)),  # DeBERTa-v3
        ({"generator_size": 1.0, "generator_depth": 0.1}, {"layers": 2}, (256, 4, 1024, 1, 128)),
        ({"generator_size": 0.01}, {"layers": 3, "windows": (None, 2, 4)}, (3, 1, 10, 3, 128)),
    ],
)
def test_how_large_the_generator_is(fields: dict[str, Any], main: dict[str, Any], wanted: tuple[int, ...]) -> None:
    small: dict[str, Any] = {"width": 256, "heads": 4, "feedforward": 1024, "embedding_width": 128}
    config = ModelConfig(**small | main)
    made = replaced(**{"generator_size": 0.25, **fields}).companions(config)["generator"].config
    assert (made.width, made.heads, made.feedforward, made.layers, made.embedding_width) == wanted
    assert made.vocabulary == config.vocabulary


def test_what_does_not_go_together() -> None:
    shares = {"generator_size": 1.5}, {"generator_depth": 0.0}
    unending = [{name: n} for name in ("detection", "temperature") for n in (float("nan"), float("inf"))]
    sizes = [{f"generator_{name}": 0} for name in ("width", "layers", "heads", "feedforward")]
    few = {"rate": 0.0}, {"mask": 1.2}, {"detection": 0.0}, {"temperature": 0.0}
    for fields in (*few, *unending, *sizes, *shares):
        with pytest.raises(ValueError, match=next(iter(fields))):
            replaced(**fields)
    with pytest.raises(ValueError, match="replaced cannot stand beside other objectives"):
        Combined((replaced(), NextSentence()))
    assert Combined((replaced(control=True), NextSentence())).companions(ModelConfig()) == {}
    windowed = model(replaced(), windows=(2, None))
    with pytest.raises(ValueError, match="a generator of 3 layers for a model whose windows are those of 2"):
        beside(windowed, replaced(generator_layers=3))
    with pytest.raises(ValueError, match="not a multiple"):
        beside(model(replaced()), replaced(generator_width=7, generator_heads=2))


def test_alone_with_a_weight() -> None:
    """One part with a weight of its own is itself, times the weight."""
    plain, weighted = replaced(), Combined((replaced(),), (0.5,))
    batch = stream_of(plain)[0][0]
    assert list(weighted.companions(ModelConfig())) == ["generator"]
    a, b = (step_of(o, init_std=0.3)(batch).scaled(batch.counts).item() for o in (plain, weighted))
    assert b == pytest.approx(0.5 * a, rel=1e-6)
    assert len(step_of(weighted)(batch, logits=True)) == 2
    assert (weighted.comparable, weighted.alone) == (False, True)


def test_json_and_schedules() -> None:
    objective = replaced(select=Spans(p=0.3), rate=((0, 0.1), (10, 0.3)), sharing="difference")
    assert objectives.from_json(objectives.to_json(objective)) == objective
    assert objective.at(5).rate == pytest.approx(0.2)
    assert replaced().at(7) == replaced()
    assert objective.at_rate(0.4).rate == 0.4


@SHARING
def test_it_goes_on_bit_for_bit(sharing: Any, tmp_path: Path) -> None:
    """A run that was left after its third step and taken up again: weights and moments of one that was not."""
    objective = replaced(sharing=sharing)
    schedule = Schedule("constant", 0.0)  # the same rate, whatever the length of the run
    found = []
    for lengths in ((6,), (3, 6)):
        folder = tmp_path / str(len(lengths))
        for length in lengths:
            step = step_of(objective, dropout=0.1)
            fit(step, stream_of(objective, 6, 96), quick(length, schedule=schedule), RunFolder(folder))
        state = folder / "last" / "state"
        found.append(dict([*read_tensors(state, "weights"), *read_tensors(state, "optimizer")]))
    whole, again = found
    assert whole.keys() == again.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
