from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch.utils._pytree as pytree
from training_tools import MADE, masked, model, step_of, stream_of

from didact.batch import Labels, Loss
from didact.heads import Head
from didact.objectives import Distilled, Masked, Objective
from didact.training.optim import AdamW
from didact.training.step import Step


@dataclass(frozen=True)
class Later(Masked):
    """Masked, whose loss says which step it was resolved for."""

    resolved: int = -1

    def at(self, step: int) -> Masked:
        return replace(self, resolved=step)


def head_of(step: Step, asked: Labels) -> Head:
    """The head that labels are put to, of whichever model has it."""
    return next(m.specs[asked.head] for m in step.models.values() if asked.head in m.specs)  # type: ignore[operator, union-attr, index]


@pytest.mark.parametrize("objective", MADE, ids=lambda o: o.kind)
def test_loss_and_answers(objective: Objective) -> None:
    step = step_of(objective)
    batch = stream_of(objective)[0][0]
    loss, answers = step(batch), step(batch, logits=True)
    assert isinstance(loss, Loss)
    assert list(loss.parts) == list(objective.names)
    assert [len(logits) for logits in answers] == [head_of(step, asked).answers(asked) for asked in batch.labels]
    for asked, logits in zip(batch.labels, answers, strict=True):
        if objective.teachers or objective.group > 1:  # what is right, another model says, or the others of the group
            continue
        again = head_of(step, asked).loss(logits, asked)
        found = loss.parts[asked.name]
        assert again.count == found.count
        if asked.head != "replaced":  # whose right answers are known only once the generator has drawn
            assert again.total.item() == found.total.item()


def test_names() -> None:
    for objective in MADE:
        wanted = {"main", *objective.companions(model(objective).config), *objective.teachers}
        assert {name.split(".")[1] for name, _ in step_of(objective).named_parameters()} == wanted
    names = [name for name, _ in step_of(MADE[0]).named_parameters()]
    assert "models.main.core.embedding.word.weight" in names


def test_schedules_are_resolved() -> None:
    objective = Later(mask_id=3, vocabulary=16, specials=(0, 1, 2, 3))
    step = Step({"main": model(objective)}, objective)
    step.settle(17)
    assert step.objective == replace(objective, resolved=17)
    step.settle(18)
    assert step.base == objective


def test_a_teacher_is_never_trained() -> None:
    step = step_of(Distilled(), dropout=0.5)
    assert step.train().models["main"].training
    assert not any(module.training for module in step.models["teacher"].modules())
    assert {name.split(".")[1] for name, p in step.named_parameters() if p.requires_grad} == {"main"}
    batch = stream_of(Distilled())[0][0]
    step(batch).scaled(batch.counts).backward()
    assert all(p.grad is None for p in step.models["teacher"].parameters())
    optimizer = AdamW(layer_decay=0.5).build(step)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(step.models["main"].parameters()))
    with pytest.raises(ValueError, match="no model is called teacher, only main"):
        Step({"main": model(Distilled())}, Distilled())


def test_a_teacher_of_more_layers_moves_no_rate() -> None:
    """Layer decay counts from the top of what is trained."""
    objective = Distilled()
    deep = Step({"main": model(objective), "teacher": model(objective, layers=5)}, objective)
    alone = step_of(masked())
    scales = [{g["scale"] for g in AdamW(layer_decay=0.5).build(s).param_groups} for s in (deep, alone)]
    assert scales[0] == scales[1]


def test_main_is_missing() -> None:
    with pytest.raises(ValueError, match="no model is called 'main', only teacher"):
        Step({"teacher": model(masked())}, masked())


def test_a_loss_is_a_tree_of_its_tensors() -> None:
    for objective in MADE:
        loss = step_of(objective)(stream_of(objective)[0][0])
        leaves, spec = pytree.tree_flatten(loss)
        wanted = [tensor for p in loss.parts.values() for tensor in (p.total, p.correct, p.marked)]
        assert all(leaf is tensor for leaf, tensor in zip(leaves, wanted, strict=True))
        again = pytree.tree_unflatten(leaves, spec)
        assert list(again.parts) == list(loss.parts)
        for name, part in loss.parts.items():
            assert all(a is b for a, b in zip(vars(again.parts[name]).values(), vars(part).values(), strict=True))
