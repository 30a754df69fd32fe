"""Validation with fixed masks, against its definition computed one example at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from run_tools import pretraining

from didact import hub
from didact.runs import runfile
from didact.runs.pretrain import Parts, assemble
from didact.runs.schema import PretrainRun
from didact.runs.validation import FixedValidation
from didact.training.step import Step


def parts_of(world: Path, folder: Path, **changes: object) -> Parts:
    return assemble(runfile.checked(PretrainRun, pretraining(world, folder, **changes)))


def validate(parts: Parts, trained: Path, **changes: object) -> dict[str, float]:
    assert parts.validation is not None
    validation = FixedValidation(**{**vars(parts.validation), **changes})
    step = Step({"main": hub.load(trained, parts.objective.heads).model}, parts.objective).eval()
    with torch.no_grad():
        return validation(step)


def test_it_does_not_depend_on_the_run(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """Another seed, rate, batch, budget and micro-batch: the same questions, hence the same losses."""
    a = validate(parts_of(world, tmp_path / "a"), pretrained)
    other = parts_of(
        world,
        tmp_path / "b",
        seed=9,
        objective={"masked": {"rate": 0.5}, "sentence_order": {}},
        batch={"size": "3 sequences", "micro_tokens": 64},
    )
    b = validate(other, pretrained)
    assert a.keys() == b.keys()
    assert a == pytest.approx(b, rel=1e-5)
    c = validate(parts_of(world, tmp_path / "c"), pretrained, seed=1)
    assert c["mlm@15/loss"] != a["mlm@15/loss"], "another validation seed asks other questions"


def test_its_figures_by_definition(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """One example at a time, torch's own softmax: nats, bits a token, bits a byte, share that is right."""
    parts = parts_of(world, tmp_path / "a", objective={"masked": {}})
    assert parts.validation is not None
    found = validate(parts, pretrained, rates=(0.3,))
    model = hub.load(pretrained, parts.objective.heads).model
    nats = right = asked = covered = 0.0
    for batch in FixedValidation(**{**vars(parts.validation), "rates": (0.3,), "micro_tokens": 31})._batches(0.3):
        assert len(batch.inputs.packed.lengths) == 1
        (labels,) = batch.labels
        with torch.no_grad():
            logits = model(batch)[0]
        scores = torch.log_softmax(logits.double(), -1)
        rows = torch.arange(len(labels.values))
        nats -= float(scores[rows, labels.values].sum())
        right += float((scores.argmax(-1) == labels.values).sum())
        asked += len(labels.values)
        covered += labels.covered
    assert covered > asked, "a token stands for at least a byte"
    assert found["mlm@30/loss"] == pytest.approx(nats / asked, rel=1e-5)
    assert found["mlm@30/accuracy"] == pytest.approx(right / asked)
    assert found["mlm@30/bits_per_token"] == pytest.approx(nats / asked / math.log(2), rel=1e-5)
    assert found["mlm@30/bits_per_byte"] == pytest.approx(nats / covered / math.log(2), rel=1e-5)


def test_the_rate_is_the_share_that_is_hidden(world: Path, tmp_path: Path) -> None:
    parts = parts_of(world, tmp_path / "a", objective={"masked": {}})
    assert parts.validation is not None
    for rate in (0.15, 0.4):
        batches = parts.validation._batches(rate)
        asked = sum(len(batch.labels[0].values) for batch in batches)
        specials = torch.tensor(parts.pretrained.tokenizer.special_ids)
        plain = sum(int((~torch.isin(b.inputs.packed.tokens, specials)).sum()) for b in batches)
        masks = sum(int((b.inputs.packed.tokens == parts.pretrained.tokenizer.mask).sum()) for b in batches)
        assert asked / (plain + masks) == pytest.approx(rate, abs=0.04)


def test_what_asks_nothing_has_no_loss(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """And is never the best."""
    found = validate(parts_of(world, tmp_path / "a"), pretrained, amount=0)
    assert found.keys() == {"loss"}
    assert math.isnan(found["loss"])


def test_held_out_documents_alone(world: Path, tmp_path: Path) -> None:
    parts = parts_of(world, tmp_path / "a")
    assert parts.validation is not None
    store = parts.stores[0]
    train = {tuple(np.asarray(store.token_ids[slice(*store.document(int(d)))])) for d in store.split("train")}
    held = {tuple(np.asarray(store.token_ids[slice(*store.document(int(d)))])) for d in store.split("validation")}
    assert held
    assert not train & held
    assert parts.validation.source.split == "validation"  # type: ignore[attr-defined]
