"""Every recipe, carried out with its sizes, and nothing else, made small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_tools import small, writing_start

from didact.runs import runfile
from didact.runs.corpus import find_collocations, prepare_store, train_tokenizer
from didact.runs.finetune import finetune
from didact.runs.pretrain import pretrain
from didact.runs.schema import FinetuneRun, PretrainRun

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "glue")  # that one: test_lab_glue.py
QUICK = {"hardware": {"compile": "off"}, "quiet": True}


def with_marks(world: Path, folder: Path) -> Path:
    """The world's corpus with a tokenizer that has sentinels and UL2's modes."""
    corpus, special = [str(world / "corpus.txt")], ("[R]", "[S]", "[X]")
    train_tokenizer(corpus, folder / "tokenizer", "unigram", 140, sentinels=12, special=special)
    prepare_store(corpus, str(folder / "tokenizer"), folder / "store", validation=0.2)
    return folder / "store"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs(recipe: Path, world: Path, pretrained: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = yaml.safe_load(recipe.read_text())
    values |= QUICK | {"run": str(tmp_path / "run"), "budget": {"steps": 2}}
    if "objective" in values:
        unit = "tokens" if "tokens" in values["batch"]["size"] else "sequences"
        transferred = "start_transferred" in values["model"]
        values["model"] |= {"start_transferred": str(pretrained)} if transferred else small(values["model"]["family"])
        values["model"] |= {"start_thinned": str(pretrained)} if "start_thinned" in values["model"] else {}
        if "teacher" in values:
            values["teacher"] = str(pretrained)
        select = values["objective"].get("masked", {}).get("select")
        if isinstance(select, dict) and "pmi_spans" in select:
            select["pmi_spans"]["file"] = str(tmp_path / "collocations.tsv")
            find_collocations(world / "store", tmp_path / "collocations.tsv", size=100, longest=3, least=2)
        marks = {"span_corruption", "mixed"} & set(values["objective"])
        store = with_marks(world, tmp_path) if marks or transferred else world / "store"
        values["data"] |= {"train": str(store), "length": 32}
        values["batch"] = {"size": "256 tokens" if unit == "tokens" else "8 sequences", "micro_tokens": 128}
        values["validation"] |= {"sequences": 8}
        run = pretrain(runfile.checked(PretrainRun, values))
        assert json.loads((run / "result.json").read_text())["validation"]["loss"] > 0
        return
    prefix = {"pair": "pair-", "choose": "choice-"}.get(recipe.stem, "")
    files = {name: f"{prefix}{file}".replace("conllu", "conll") for name, file in values["data"].items()}
    values["data"] = {name: str(world / file) for name, file in files.items()}
    values["task"] = {
        kind: {k: v for k, v in (own or {}).items() if k != "stride"} for kind, own in values["task"].items()
    }
    unit = "tokens" if "tokens" in values.get("batch", {}).get("size", "") else "sequences"
    size = "256 tokens" if unit == "tokens" else "8 sequences"
    values |= {"length": 64, "batch": {"size": size, "micro_tokens": 128}}
    if "start" in values:
        values["start"] = str(writing_start(world, tmp_path / "start") if "translate" in values["task"] else pretrained)
    else:
        values["tokenizer"] = str(world / "tokenizer")
        values["model"] |= small(values["model"]["family"])
    if "translate" in values["task"]:
        values["task"]["translate"] |= {"target_length": 8}
        values |= {"evaluate_every": 1}
    if recipe.stem == "simcse":
        values["data"]["dev"] = str(world / "alike-dev.tsv")
        values["task"]["embed"] |= {"group": 8}
    run = finetune(runfile.checked(FinetuneRun, values))
    result = json.loads((run / "result.json").read_text())
    assert len(result["seeds"]) == len(values["seeds"])
    assert all(result["main"] in own["dev"] for own in result["seeds"].values())
