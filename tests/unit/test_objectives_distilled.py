"""didact.objectives.distilled: the reference script's three losses, of the rows that are meant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data_tools import example
from training_tools import VOCABULARY, masked, model, step_of, stream_of

from didact.objectives import Combined, Distilled, from_json, to_json
from didact.randomness import generator
from didact.training.step import Step

BOTH = Combined((masked(rate=0.3), Distilled()), (2.0, 1.0))


def test_the_loss_is_the_reference_scripts() -> None:
    """5 · KL of all rows at temperature 2, times 4; 2 · cross-entropy of the masked; 1 · cosine of all rows."""
    step = step_of(BOTH).eval()
    (batch,) = stream_of(BOTH, sequences=4)[0]
    student, teacher = step.models["main"], step.models["teacher"]
    table = [m.core.embedding.word.weight for m in (student, teacher)]
    own, wanted = student.hidden(batch.inputs).main, teacher.hidden(batch.inputs).main
    p, q = (
        m.heads["vocabulary"](h, table=t)
        for m, h, t in zip((teacher, student), (wanted, own), table[::-1], strict=True)
    )
    divergence = F.kl_div(F.log_softmax(q / 2, -1), F.softmax(p / 2, -1), reduction="batchmean") * 4
    (hidden,) = [asked for asked in batch.labels if asked.name == "mlm"]
    crossed = F.cross_entropy(q[hidden.rows], hidden.values)
    cosine = F.cosine_embedding_loss(own, wanted, torch.ones(len(own)))
    found = step(batch).scaled(batch.counts)
    torch.testing.assert_close(found, 5 * divergence + 2 * crossed + cosine)


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    objective = Distilled()
    step = Step({"main": model(objective), "teacher": model(objective)}, objective).eval()
    (batch,) = stream_of(objective)[0]
    loss = step(batch)
    assert loss.scaled(batch.counts).item() == pytest.approx(0.0, abs=1e-5)
    assert loss.parts["soft"].correct == loss.parts["soft"].count == batch.tokens


def test_which_rows_are_asked() -> None:
    e = example(30, 1, VOCABULARY)
    for rows in ("all", "asked"):
        objective = Combined((masked(rate=0.3), Distilled(rows=rows)))  # type: ignore[arg-type]
        mlm, soft, cosine = objective.prepare(e, generator(3)).labels
        assert soft.rows.tolist() == (list(range(30)) if rows == "all" else sorted(mlm.rows.tolist()))
        assert cosine.rows.tolist() == list(range(30))
        flat = objective([e, example(7, 2, VOCABULARY)], np.array([5, 6], np.uint64))
        assert flat.batch([1, 0]).counts["soft"] == flat.batch([0, 1]).counts["soft"]
    (alone,) = Distilled(rows="asked", cosine=0.0).prepare(e, generator(3)).labels
    assert len(alone.rows) == 0


def test_without_the_angle() -> None:
    objective = Distilled(cosine=0.0)
    assert objective.names == ("soft",)
    assert set(objective.heads) == {"vocabulary"}
    narrow = Step({"main": model(objective), "teacher": model(objective, width=16, feedforward=8)}, objective)
    batch = stream_of(objective)[0][0]
    assert set(narrow(batch).parts) == {"soft"}


def test_a_teacher_with_a_padded_vocabulary() -> None:
    objective = Distilled()
    step = step_of(objective).eval()
    (batch,) = stream_of(objective)[0]
    before = step(batch)
    larger = model(objective, 1, init_std=0.5)
    larger.config = replace(larger.config, vocabulary=VOCABULARY + 3)
    larger.load_state_dict(step.models["teacher"].state_dict())
    own = larger.core.embedding.word
    own.weight = torch.nn.Parameter(torch.cat([own.weight, torch.full((3, own.weight.shape[1]), 9.0)]))
    head = larger.heads["vocabulary"]
    head.bias = torch.nn.Parameter(torch.cat([head.bias, torch.full((3,), 99.0)]))  # type: ignore[list-item]
    after = Step({"main": step.models["main"], "teacher": larger}, objective).eval()(batch)
    assert after.parts["soft"].total.item() == pytest.approx(before.parts["soft"].total.item())


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"soft": 0.0}, {"cosine": -1.0}], ids=str)
def test_bad_numbers_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Distilled(**fields)


def test_json() -> None:
    assert from_json(to_json(BOTH)) == BOTH
