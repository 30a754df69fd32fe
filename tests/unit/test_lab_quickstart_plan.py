"""The quickstart's plan: the shipped ones are sound, the arms are equal in everything but their start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from didact import hub
from didact.data.installed_docs import TASKS
from didact.errors import InputError
from didact.lab import quickstart
from didact.lab.quickstart import plan as plans
from didact.lab.quickstart.stages import stages
from didact.runs.build import task_of


@pytest.fixture(params=list(plans.shipped()))
def shipped(request: pytest.FixtureRequest) -> plans.Plan:
    return plans.read(plans.shipped()[request.param])


def test_shipped_plans_have_all_four_tasks_and_three_seeds(shipped: plans.Plan) -> None:
    assert set(shipped.tasks) == set(TASKS) == set(shipped.sizes)
    for task in shipped.tasks:
        run = plans.finetune_run(shipped, Path("out"), task, "scratch")
        assert len(set(run.seeds)) >= 3
        if shipped.start is None:  # else time goes to adaptation, at rates that were found on dev beforehand
            assert len(set(run.learning_rates)) >= 2
        assert task_of(run.task, run.length)


def test_shipped_plans_fit_the_model(shipped: plans.Plan) -> None:
    pretrain = plans.pretrain_run(shipped, Path("out"))
    if shipped.start is None:
        room = pretrain.model.changes["position"]["maximum"]
    else:
        room = hub.load(shipped.start).model.config.position.maximum
    assert pretrain.data.length <= room
    assert pretrain.batch.micro_tokens >= pretrain.data.length
    for task in shipped.tasks:
        run = plans.finetune_run(shipped, Path("out"), task, "scratch")
        assert run.length <= room
        assert run.batch.micro_tokens >= run.length


def test_the_arms_differ_in_their_start_alone(shipped: plans.Plan) -> None:
    for task in shipped.tasks:
        arms = {arm: plans.finetune_run(shipped, Path("out"), task, arm).model_dump() for arm in shipped.arms}
        ours = arms.pop("pretrained")
        differ = {arm: {key for key in own if own[key] != ours[key]} for arm, own in arms.items()}
        assert differ.pop("scratch") == {"run", "scratch"}
        assert differ in ({}, {"start": {"run", "start"}})


def test_a_start_is_gone_on_from_and_stands_beside(tmp_path: Path) -> None:
    plan = plans.read(written(tmp_path, start="some/small"))
    assert plans.pretrain_run(plan, tmp_path).model.start == "some/small"
    assert list(plan.arms.values()) == ["small, adapted", "small as it comes", "from scratch"]
    runs = {arm: plans.finetune_run(plan, tmp_path, "topic", arm) for arm in plan.arms}
    ours = str(tmp_path / "pretrain")
    assert [(run.start, run.scratch) for run in runs.values()] == [(ours, False), ("some/small", False), (ours, True)]
    equal = [run.model_dump(exclude={"run", "start", "scratch"}) for run in runs.values()]
    assert equal[0] == equal[1] == equal[2]


def test_a_start_is_transferred_to_a_tokenizer_that_is_made(tmp_path: Path) -> None:
    plan = plans.read(written(tmp_path, start="some/small", tokenizer={"vocabulary": 500}))
    model = plans.pretrain_run(plan, tmp_path).model
    assert (model.start, model.start_transferred) == (None, "some/small")
    (made,) = [c for c in stages(plan, tmp_path, 2, 1)[1].commands if c.name == "tokenizer"]
    assert "500" in made.arguments
    (prepared,) = stages(plan, tmp_path, 2, 1)[2].commands
    assert str(tmp_path / "tokenizer") in map(str, prepared.arguments)


def test_written_and_read_again(shipped: plans.Plan, tmp_path: Path) -> None:
    plans.write(shipped, tmp_path)
    assert plans.read(tmp_path / "plan.yaml") == shipped


def test_a_task_replaces_key_by_key_and_names_its_own_files(tmp_path: Path) -> None:
    plan = plans.read(written(tmp_path, finetune={"length": 64, "batch": {"size": "8 sequences"}}))
    run = plans.finetune_run(plan, tmp_path, "topic", "pretrained")
    assert (run.length, run.batch.size, run.batch.micro_tokens) == (64, (8, "sequences"), 999)
    assert run.data.train == tmp_path / "tasks" / "topic" / "train.jsonl"
    assert (run.start, run.scratch) == (str(tmp_path / "pretrain"), False)


def test_merged_replaces_choices_as_a_whole() -> None:
    base = {"budget": {"minutes": 3}, "task": {"tag": {}}, "batch": {"size": 1, "micro_tokens": 2}}
    change = {"budget": {"steps": 5}, "task": {"classify": {}}, "batch": {"size": 9}}
    made = plans.merged(base, change)
    assert made == {"budget": {"steps": 5}, "task": {"classify": {}}, "batch": {"size": 9, "micro_tokens": 2}}
    assert base["batch"] == {"size": 1, "micro_tokens": 2}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validation": 0.9}, "validation"),
        ({"colour": 1}, "colour: unknown key"),
        ({"start": "small", "pretrain": {"model": {"dropout": 0.1}}}, "whose architecture all arms have"),
        ({"pretrain": {"budget": {"steps": 1}, "data": {"lenght": 3}}}, "pretrain.data.lenght"),
        ({"finetune": {"seeds": "all"}}, "tasks.topic.seeds"),
        ({"tokenizer": {"kind": "morse"}}, "tokenizer.kind"),
        ({"sizes": {"topic": {"training": 3}}}, "sizes.topic"),
    ],
)
def test_a_mistake_is_named_with_its_path(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        plans.read(written(tmp_path, **changes))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run file"):
        plans.read(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"bad\.yaml:1: not YAML"):
        plans.read(tmp_path / "bad.yaml")


def test_a_folder_begun_with_another_plan_says_what_differs_and_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plans.write(plans.read(written(tmp_path)), out)
    with pytest.raises(InputError) as told:
        quickstart.run(out, plan=written(tmp_path, start="small"))
    assert str(told.value) == (
        f"{out}/plan.yaml: begun with another plan (start was None, now 'small'); expected another folder (--out, "
        f"make's RUNS=…); didact lab {out}/plan.yaml --out {out} goes on with that plan"
    )


def written(folder: Path, **changes: Any) -> Path:
    plan: dict[str, Any] = {
        "pretrain": {"budget": {"steps": 3}},
        "finetune": {"length": 32},
        "tasks": {"topic": {"task": {"classify": {}}, "batch": {"micro_tokens": 999}}},
    }
    file = folder / "given.yaml"
    file.write_text(yaml.safe_dump(plan | changes))
    return file
