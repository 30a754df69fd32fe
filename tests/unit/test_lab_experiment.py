"""Whole grids, really trained at a size at which they say nothing: every recipe, in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from didact import tasks
from didact.data.document import Document
from didact.data.store import build_store
from didact.errors import InputError
from didact.lab import experiment
from didact.lab import grid as grids
from didact.lab.cells import Cell, Failure, Say
from didact.lab.flops import flops_of
from didact.runs.finetune import finetune
from didact.runs.pretrain import assemble, pretrain
from didact.runs.runfile import checked
from didact.runs.schema import PretrainRun
from didact.tokenization.train import train

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "grids"
SMALL = {
    "model": {"family": "bert", "layers": 1, "width": 16, "heads": 2, "feedforward": 32},
    "batch": {"size": "4 sequences", "micro_tokens": 128},
    "validation": {"every": 100, "sequences": 8, "rates": [0.15]},
    "quiet": True,
}
PAIRS = "premise\thypothesis\tlabel"
FILES = {"text": "text\tlabel", "pair": PAIRS, "nsp": PAIRS, "sop": PAIRS, "write": "source\ttarget"}


def sentence(rng: random.Random, topic: int) -> str:
    return " ".join(f"word{rng.randrange(20) + 20 * topic}" for _ in range(rng.randint(4, 8))) + "."


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and the labelled files that the recipes name."""
    folder = tmp_path_factory.mktemp("world")
    rng = random.Random(0)
    texts = [" ".join(sentence(rng, i % 3) for _ in range(6)) for i in range(60)]
    tokenizer, _ = train(texts, "wordpiece", 200, sentinels=8)
    build_store(
        (Document(str(i), t) for i, t in enumerate(texts)), tokenizer, folder / "store", processes=1, validation=0.2
    )
    for name, header in FILES.items():
        (folder / name).mkdir()
        for split, count in (("train", 24), ("dev", 9), ("test", 30)):
            fields = header.count("\t")
            rows = ["\t".join([*(sentence(rng, i % 3) for _ in range(fields)), "abc"[i % 3]]) for i in range(count)]
            (folder / name / f"{split}.tsv").write_text("\n".join([header, *rows]) + "\n")
    _words_and_questions(folder, rng)
    begun = {"run": str(folder / "begun"), **SMALL, "data": {"train": str(folder / "store"), "length": 32}}
    pretrain(checked(PretrainRun, begun | {"budget": {"steps": 1}}))
    return folder


def _words_and_questions(folder: Path, rng: random.Random) -> None:
    """Tagged sentences as JSON lines; questions as QAMR writes them, contexts in a file of their own."""
    contexts = [sentence(rng, i % 3).rstrip(".") for i in range(60)]
    for name in ("tag", "answer"):
        (folder / name).mkdir()
    (folder / "answer" / "contexts.tsv").write_text("".join(f"c{i}\t{text}\n" for i, text in enumerate(contexts)))
    for split, begin, end in (("train", 0, 24), ("dev", 24, 33), ("test", 33, 60)):
        words = [text.split() for text in contexts[begin:end]]
        tagged = [json.dumps({"words": own, "tags": ["XY"[len(w) % 2] for w in own]}) for own in words]
        (folder / "tag" / f"{split}.jsonl").write_text("\n".join(tagged) + "\n")
        asked = [f"c{i}\t0\t0\t0\t0\twhich {words[i - begin][1]}?\t1\t1:1\t2:1" for i in range(begin, end)]
        (folder / "answer" / f"{split}.tsv").write_text("\n".join(asked) + "\n")


def small(recipe: Path, folder: Path, world: Path) -> Path:
    """The recipe with its sizes, and nothing else, made small; what it starts from is a model of that size."""
    values: dict[str, Any] = grids.read(recipe).model_dump(mode="json")
    if values["pretrain"] is not None:
        model = values["pretrain"]["model"]
        data = values["pretrain"]["data"] | {"train": str(world / "store"), "length": 32}
        values["pretrain"] |= SMALL | {"data": data}
        started = "start" in model
        values["pretrain"]["model"] = (
            {"start": str(world / "begun")} if started else SMALL["model"] | {"family": model["family"]}
        )
        values["learning_rates"] |= {"pretrain": [1e-3, 2e-3], "finetune": [1e-3]}
        values["budget"] |= {"steps": 3} if values["budget"]["equal"] != "tokens" else {"tokens": 300}
    for arm in values["arms"].values():
        if "start" in arm["finetune"]:
            arm["finetune"] |= {"start": str(world / "begun"), "learning_rates": []}
        if arm["pretrain"]:
            arm["pretrain"] = {
                key: str(world / "store")
                if key == "data.train"
                else min(value, 32)
                if isinstance(value, int)
                else value
                for key, value in arm["pretrain"].items()
            }
    for name, run in values["finetune"].items():
        files = {k: v for k, v in run["data"].items() if k in ("train", "dev", "test")}
        run["data"] = {split: str(world / name / Path(path).name) for split, path in files.items()}
        if "answer" in run["task"]:
            run["task"]["answer"]["contexts"] = str(world / "answer" / "contexts.tsv")
            run["task"]["answer"]["stride"] = 8
        run["optimizer"] = {"freeze": 1} if "freeze" in run.get("optimizer", {}) else {}
        run |= {"length": 32, "batch": SMALL["batch"], "budget": {"steps": 2}, "quiet": True}
    values["seeds"] = values["seeds"][:1]
    path = folder / recipe.name
    path.write_text(yaml.safe_dump(values))
    return path


def here(cells: Sequence[Cell], _say: Say) -> list[Failure]:
    """Run cells in this process."""
    for cell in cells:
        if isinstance(cell.run, PretrainRun):
            pretrain(cell.run)
        else:
            finetune(cell.run)
    return []


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_runs(recipe: Path, tmp_path: Path, world: Path) -> None:
    path = small(recipe, tmp_path, world)
    said: list[str] = []
    page = experiment.run(path, tmp_path / "out", here, said.append)
    grid = grids.read(path)
    text = page.read_text()
    assert all(arm in text for arm in grid.arms)
    assert grid.learning_rates.by in text
    assert "trivial: " in text
    assert all(paper.source in text for paper in grid.papers)
    again: list[Cell] = []

    def note(cells: Sequence[Cell], _say: Say) -> list[Failure]:
        again.extend(cells)
        return []

    assert experiment.run(path, tmp_path / "out", note, said.append) == page
    assert again == [], "finished cells are skipped"


def test_recipes_are_worth_quoting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what they say of themselves, and for what is only known where a start lies."""
    from didact.lab.verdict import short_of

    monkeypatch.chdir(tmp_path)
    known = {
        "small_en": ["2 seeds (at least 3)"],
        "corruptions": ["1 seed of pre-training (at least 3)"],
        "small_en_tasks": [
            f"{task}: learning rate not tuned for each arm" for task in ("text", "tag", "pair", "answer")
        ],
        "electra_on": ["layers and width not known, for want of the start (mlm15, rtd)"],
    }
    for recipe in RECIPES.glob("*.yaml"):
        assert short_of(grids.read(recipe)) == known.get(recipe.stem, []), recipe.name


def test_measured_operations_are_those_that_are_counted(tmp_path: Path, world: Path) -> None:
    """And measuring leaves torch's randomness as it was."""
    import torch

    grid = grids.read(small(RECIPES / "masking_rate.yaml", tmp_path, world))
    torch.manual_seed(0)
    costs = {arm: flops_of(grids.pretrain_run(grid, arm, 0, tmp_path / "x")).flops for arm in ("15", "40")}
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert 1.0 < costs["40"] / costs["15"] < 2.7


def test_a_plan_says_how_long_every_cell_takes(tmp_path: Path, world: Path) -> None:
    """And leaves nothing behind; fine-tunings that differ in their start alone are measured once."""
    from didact.lab.plan import plan_of

    grid = grids.read(small(RECIPES / "static_dynamic.yaml", tmp_path, world))
    grid = grid.model_copy(update={"finetune": {"text": grid.finetune["text"]}, "seeds": (0, 1, 2)})
    arms = grid.arms | {"dropped": grid.arms["static"].model_copy(update={"finetune": {"model": {"dropout": 0.3}}})}
    grid = grid.model_copy(update={"arms": arms})
    before, said = sorted(tmp_path.rglob("*")), list[str]()
    lines = plan_of(grid, said.append).splitlines()[2:]
    *rows, total = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [line for line in said if ": text" in line] == [f"{next(iter(grid.arms))}: text …", "dropped: text …"]
    assert [row[:2] for row in rows] == [
        *([arm, stage] for arm in grid.arms for stage in ("rate on trial", "pretrain")),
        *([arm, "text"] for arm in grid.arms),
    ]
    assert [row[4] for row in rows] == [*["2", "3"] * 3, "3", "3", "3"]
    assert [row[2] for row in rows[6:]] == ["2", "2", "2"]
    assert all(float(row[5]) > 0 for row in rows)
    assert total[4] == "24"
    assert float(total[6].split()[0]) == pytest.approx(sum(float(row[6]) for row in rows), abs=1)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_counts_every_kind_of_budget(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of what is really read; tokens and minutes by what a step takes."""
    from didact.lab.plan import plan_of

    values = yaml.safe_load(small(RECIPES / "static_dynamic.yaml", tmp_path, world).read_text())
    text = values["finetune"]["text"]
    values |= {"budget": None, "learning_rates": {}, "arms": {"dynamic": values["arms"]["dynamic"]}}
    values |= {"reference": "dynamic", "papers": []}
    values["pretrain"]["budget"] = {"epochs": 3}
    values["finetune"] = {
        "epochs": text | {"budget": {"epochs": 2}},
        "tokens": text | {"budget": {"tokens": 1000}},
        "minutes": text | {"budget": {"minutes": 0.5}},
    }

    def rows() -> dict[str, list[str]]:
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
        lines = plan_of(grids.read(tmp_path / "plan.yaml"), print).splitlines()[2:-1]
        return {cells[1]: cells for line in lines if (cells := [cell.strip() for cell in line.split("|")[1:-1]])}

    found = rows()
    run = grids.pretrain_run(grids.read(tmp_path / "plan.yaml"), "dynamic", 0, tmp_path / "x")
    assert int(found["pretrain"][2]) == assemble(run).budget.steps
    assert int(found["pretrain"][2]) > 3
    assert found["epochs"][2] == "12"  # 24 sequences, 4 in a batch
    assert 5 < int(found["tokens"][2]) < 60
    assert int(found["minutes"][2].replace(",", "")) > 10
    assert float(found["minutes"][5]) > 0.5
    (tmp_path / "planned.py").write_text(
        "from didact.tasks import Classify\nclass Own(Classify):\n    kind = 'planned'\nTASKS = (Own,)\n"
    )
    monkeypatch.setattr(tasks, "TASKS", tasks.TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    values["finetune"] = {"own": text | {"task": {"planned": {}}, "plugins": ["planned"], "budget": {"epochs": 1}}}
    assert found["epochs"][2] == "12" == str(2 * int(rows()["own"][2]))
    values["finetune"] = {"epochs": text | {"budget": {"epochs": 2}, "batch": {"size": "100 tokens"}}}
    with pytest.raises(InputError, match=r"budget\.epochs: with a batch in tokens"):
        rows()
