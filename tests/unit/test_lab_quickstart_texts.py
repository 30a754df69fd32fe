"""The first stages on small packages: the corpus and the tasks' files come of training and other subtrees as stated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from installed_docs_tools import site_packages

from didact.data.installed_docs import TASKS, extract
from didact.lab.quickstart import texts

SIZE = {"train": 40, "dev": 12, "test": 30}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    plan = {
        "search": [str(site_packages(folder / "site", modules=96))],
        "sizes": dict.fromkeys(TASKS, SIZE),
        "pretrain": {"budget": {"steps": 3}},
        "finetune": {},
        "tasks": {name: {"task": {"classify": {}}} for name in TASKS},
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    texts.documents(folder)
    texts.tasks(str(folder))
    return folder


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_corpus_is_the_documents_sentence_by_sentence(out: Path) -> None:
    found = extract(out / "docs", [str(out / "site")])
    wanted = [list(d.sentences or ()) for d in texts.corpus.documents(found.entries)]
    assert [record["text"] for record in lines(out / "corpus.jsonl")] == wanted
    assert not list(out.glob("*.part"))


def test_counts_are_those_of_the_files(out: Path) -> None:
    told = json.loads((out / "documents.json").read_text())
    found = extract(out / "docs", [str(out / "site")])
    assert told["counts"]["entries"] == len(found.entries) == sum(own["entries"] for own in told["libraries"])
    assert told["characters"] == sum(own["characters"] for own in told["libraries"])
    assert {own["name"]: own["version"] for own in told["libraries"]} == {"numpy": "1.0", "scipy": "2.0"}
    assert told["corpus"]["documents"] == len(lines(out / "corpus.jsonl"))


def test_sizes_are_those_of_the_plan(out: Path) -> None:
    counts = json.loads((out / "tasks" / "counts.json").read_text())
    assert set(counts) == set(TASKS)
    for task in TASKS:
        for split, most in SIZE.items():
            records = lines(out / "tasks" / task / f"{split}.jsonl")
            assert counts[task][split]["records"] == len(records)
            # a module's pairs stay together, a class gets its share rounded up
            assert 0 < len(records) <= most + 12


def test_no_test_text_is_pre_trained_on(out: Path) -> None:
    read = " ".join(" ".join(record["text"]) for record in lines(out / "corpus.jsonl"))
    for record in lines(out / "tasks" / "pairs" / "test.jsonl"):
        assert record["text"] not in read
        assert record["text_b"] not in read
