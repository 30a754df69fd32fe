"""didact.tasks.tips: guidance, copying and scheduled sampling inside one loss, and a model that copies as it writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from task_tools import tokenizer

from didact import generation
from didact.batch import Batch
from didact.config import Decoder, ModelConfig
from didact.model import Model, Pretrained
from didact.objectives.guided import guided
from didact.tasks import Translate
from didact.tasks.base import Dataset
from didact.tasks.tips import GATES, Read, sampled

WORDS = tokenizer("wordpiece")
ROWS = [
    {"source": "the cat sat on the mat the cat", "target": "cat cat mat"},
    {"source": "who won", "target": "marie curie won the prize"},
    {"source": "good", "target": "bad"},
]


def made(**tips: Any) -> tuple[Translate, Model, Dataset]:
    """A task with these tips, a model of an encoder and a decoder for it, and its data."""
    config = ModelConfig(
        vocabulary=WORDS.vocabulary, width=16, layers=2, heads=2, feedforward=32, segments=0, decoder=Decoder(start=1)
    )
    task = Translate(length=24, **tips).suited(config, WORDS)
    model = Model(config, task.heads(), torch.Generator().manual_seed(0))
    drawn = torch.Generator().manual_seed(1)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3, generator=drawn)
    return task, model, task.read(ROWS, WORDS)


def batch_of(task: Translate, dataset: Dataset, order: Any = (0, 1, 2), seed: int = 0) -> Batch:
    flat = task.objective().at(0)(dataset.examples, np.arange(seed, seed + 3, dtype=np.uint64))
    return flat.batch(order)


def mixture(task: Translate, model: Model, batch: Batch) -> list[list[float]]:
    """P(w) of every row of every target by the definition, from the model's own attention, one number at a time."""
    read = Read.of(model, batch, task.looking)
    asked = batch.labels[0]
    logits = model.answer(read.decoded, asked).double().softmax(-1)
    sources = batch.inputs.packed.tokens.split(batch.inputs.packed.lengths)
    encoded = read.encoded.main.split(batch.inputs.packed.lengths)
    gates = [model.heads[name].dense for name in GATES]  # type: ignore[union-attr]
    found, t = [], 0
    for p, tokens, rows in zip(read.looks, sources, encoded, strict=True):
        for q in range(p.shape[1]):
            a = p[:, q].mean(0)
            three = read.decoded.main[t], a @ rows, read.decoded.layers[0][t]
            write = torch.sigmoid(sum(g(x) for g, x in zip(gates, three, strict=True))).item()  # type: ignore[operator]
            row = [write * x for x in logits[t].tolist()]
            for k, token in enumerate(tokens.tolist()):
                row[token] += (1 - write) * float(a[k])
            found.append(row)
            t += 1
    return found


@torch.no_grad()
def test_copying_is_the_definition() -> None:
    """What is learned from, what is measured and what every token's probability is, repeated source tokens included."""
    task, model, dataset = made(copy=True)
    batch = batch_of(task, dataset)
    assert len(set(batch.inputs.packed.tokens.tolist())) < len(batch.inputs.packed.tokens)
    wanted = torch.tensor(mixture(task, model, batch))
    objective = task.objective()
    (found,) = objective.answers({"main": model}, batch)
    assert torch.allclose(found.exp(), wanted.float(), atol=1e-5)
    values = batch.labels[0].values
    part = objective.loss({"main": model}, batch).parts["vocabulary"]
    assert part.total.item() == pytest.approx(-wanted.gather(1, values[:, None]).log().sum().item(), rel=1e-5)
    assert part.count == len(values)


@torch.no_grad()
def test_guidance_and_coverage_are_parts_of_their_own() -> None:
    task, model, dataset = made(copy=True, coverage=0.5, guided=2.0, guide="monotonic", looking=0)
    batch = batch_of(task, dataset)
    objective = task.objective()
    loss = objective.loss({"main": model}, batch)
    assert tuple(loss.parts) == objective.names == ("vocabulary", "guided", "coverage")
    looks = Read.of(model, batch, 0).looks
    total, rows = guided(looks, "monotonic", 0.2)
    assert loss.parts["guided"].total.item() == pytest.approx(total.item(), rel=1e-5)
    assert (loss.parts["guided"].count, loss.parts["guided"].weight, loss.parts["coverage"].weight) == (rows, 2.0, 0.5)
    assert {p.count for p in loss.parts.values()} == {len(batch.labels[0].values)}
    assert [a.shape[-1] for a in objective.answers({"main": model}, batch)] == [WORDS.vocabulary, 0, 0]


def test_micro_batches_add_up() -> None:
    """The loss and every gradient, with all tips at once; own words are taken by the example's own numbers."""
    task, model, dataset = made(copy=True, coverage=0.5, guided=1.0, teaching="linear", teaching_k=50)
    objective = replace(task.objective(), teacher=0.5)  # type: ignore[type-var]
    sums = []
    for packs in ([(0, 1, 2)], [(1,), (0, 2)]):
        batches = [batch_of(task, dataset, pack) for pack in packs]
        counts = {name: sum(b.counts[name] for b in batches) for name in objective.names}
        model.zero_grad()
        total = 0.0
        for batch in batches:
            loss = objective.loss({"main": model}, batch).scaled(counts)
            loss.backward()
            total += loss.item()
        sums.append((total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (one, whole), (two, parts) = sums
    assert one == pytest.approx(two, rel=1e-5)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        assert (gradient - parts[name]).abs().max() <= 1e-5 * gradient.abs().max().clamp(min=1e-3), name
    assert all(f"heads.{name}.dense.weight" in whole for name in GATES)


@torch.no_grad()
@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("rate", [1.0, 0.5, 0.0])
def test_scheduled_sampling_reads_its_own_words(rate: float, copy: bool) -> None:
    """Every row but a sequence's first: what the first pass writes, or copies, before it, where its number says so."""
    task, model, dataset = made(teaching="inverse_sigmoid", teaching_k=10, copy=copy)
    batch = batch_of(task, dataset)
    assert batch.outputs is not None
    own = sampled(task, model, batch, rate)
    (logits,) = task.objective().answers({"main": model}, batch)
    assert (logits.argmax(-1) == model(batch)[0].argmax(-1)).all() is not copy
    wanted, start = batch.outputs.packed.tokens.tolist(), 0
    for n in batch.outputs.packed.lengths:
        for row in range(start, start + n - 1):
            if float(batch.labels[0].noise[row]) >= rate:
                wanted[row + 1] = int(logits[row].argmax())
        start += n
    assert own.outputs is not None
    assert own.outputs.packed.tokens.tolist() == wanted
    assert (wanted == batch.outputs.packed.tokens.tolist()) is (rate == 1.0)
    assert own.labels == batch.labels
    objective = replace(task.objective(), teacher=rate)  # type: ignore[type-var]
    loss = objective.loss({"main": model}, batch).parts["vocabulary"].total
    (second,) = task.objective().answers({"main": model}, own)
    nats = torch.nn.functional.cross_entropy(second, batch.labels[0].values, reduction="sum")
    assert loss.item() == pytest.approx(nats.item(), rel=1e-5)


def test_the_teacher_gives_way() -> None:
    task, _, _ = made(teaching="inverse_sigmoid", teaching_k=10)
    rates = [task.objective().at(step).teacher for step in (0, 10, 100)]  # type: ignore[attr-defined]
    assert rates == pytest.approx([10 / 11, 10 / (10 + np.e), 10 / (10 + np.exp(10))])


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
def test_a_model_that_copies_writes_by_the_same_probabilities(beams: int) -> None:
    """Each token's, taken one by one from the definition; prompts of unlike length together."""
    task, model, _ = made(copy=True)
    pretrained = Pretrained(model.eval(), WORDS, writer=generation.WRITER)
    prompts = [row["source"] for row in ROWS]
    found = pretrained.generate(prompts, maximum=6, beams=beams, **({"length_penalty": 0.0} if beams > 1 else {}))
    plain = Model(model.config, {"vocabulary": task.heads()["vocabulary"]})
    plain.load_state_dict({n: t for n, t in model.state_dict().items() if "gate" not in n})
    others = Pretrained(plain.eval(), WORDS, writer=generation.WRITER).generate(prompts, maximum=6, beams=beams)
    assert [a[0].tokens for a in found] != [a[0].tokens for a in others]
    for i, answers in enumerate(found):
        tokens = list(answers[0].tokens)
        data = task.read([{"source": prompts[i]}], WORDS, labelled=False)
        known = replace(data.examples[0], targets={**data.examples[0].targets, "target": np.array(tokens)})
        batch = task.objective()([known], np.zeros(1, np.uint64)).batch([0])
        rows = torch.tensor(mixture(task, model, batch))
        if beams == 1:
            assert rows.argmax(-1).tolist() == tokens
        total = rows.gather(1, torch.tensor(tokens)[:, None]).log().sum().item()
        assert answers[0].score == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"coverage": 1.0}, {"guided": -1.0}, {"copy": True, "smoothing": 0.1}, {"smoothing": 1.0}]
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|a share"):
        Translate(**wrong)


def test_what_cannot_be_asked_is_said() -> None:
    config = ModelConfig(vocabulary=WORDS.vocabulary, visibility="causal")
    with pytest.raises(ValueError, match="no decoder"):
        Translate(guided=1.0).suited(config, WORDS)
    with pytest.raises(ValueError, match="reads its answers"):
        Translate(form="masked", teaching="linear").suited(replace(config, visibility="full"), WORDS)
    decoding = replace(config, visibility="full", segments=0, decoder=Decoder())
    with pytest.raises(ValueError, match="a layer of 12"):
        Translate(guided=1.0, looking=12).suited(decoding, WORDS)
