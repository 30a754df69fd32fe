from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from installed_docs_tools import site_packages

from didact.data.installed_docs import corpus, split
from didact.data.installed_docs.entries import Entry
from didact.data.installed_docs.extract import extract
from didact.data.installed_docs.split import split_of
from didact.data.installed_docs.tasks import SIZES, TASKS, Sizes, write_tasks
from didact.tasks import Answer, Classify, Tag

FEWEST = {"train": 2, "dev": 1, "test": 1}


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, ...]:
    tree = site_packages(tmp_path_factory.mktemp("site"), modules=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "SMALL_LIBRARY", 0)
        return extract(None, [str(tree)], 1).entries


@pytest.fixture(scope="module")
def written(entries: tuple[Entry, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "SMALL_LIBRARY", 0)
        write_tasks(entries, folder, fewest_texts=FEWEST)
    return folder


def records(folder: Path, task: str, part: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / task / f"{part}.jsonl").read_text().splitlines()]


def test_counts_are_of_the_files(written: Path) -> None:
    counts = json.loads((written / "counts.json").read_text())
    for task in TASKS:
        for part in ("train", "dev", "test"):
            assert counts[task][part]["records"] == len(records(written, task, part)) > 0
    assert counts["topic"]["test"].keys() == {"records", "numpy", "scipy"}


@pytest.mark.parametrize("task", TASKS)
def test_no_subtree_is_in_two_splits(
    task: str, written: Path, entries: tuple[Entry, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "SMALL_LIBRARY", 0)
    places = {module: where for (_, module), where in split_of(entries).items()}
    modules = {part: {r["id"].split(":")[0] for r in records(written, task, part)} for part in SIZES["topic"].__dict__}
    groups = {part: {r["group"] for r in records(written, task, part)} for part in SIZES["topic"].__dict__}
    assert not any(groups[a] & groups[b] for a in groups for b in groups if a < b), "a subtree is in one split"
    assert all(g.startswith(("numpy", "scipy")) for own in groups.values() for g in own)
    for part, found in modules.items():
        assert found
        assert all(places[m] == part for m in found)
    pretrained = {d.id.split(":")[0] for d in corpus.documents(entries)}
    assert pretrained
    assert pretrained.isdisjoint(modules["test"] | modules["dev"])


@pytest.mark.parametrize("task", TASKS)
def test_text_is_in_one_split_and_once(task: str, written: Path) -> None:
    key = {"topic": "text", "roles": "words", "pairs": "text_b", "answers": "answer"}[task]
    parts = [{json.dumps(r[key]) for r in records(written, task, part)} for part in ("train", "dev", "test")]
    assert all(parts[a].isdisjoint(parts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_pairs_are_balanced(written: Path) -> None:
    for part in ("train", "dev", "test"):
        found = records(written, "pairs", part)
        labels: Counter[tuple[str, str]] = Counter()
        for r in found:
            for side in ("text", "text_b"):
                labels[r[side], r["label"]] += 1
        assert set(labels.values()) == {1}
        assert len(labels) == 2 * len(found)


def test_the_tasks_read_the_files(written: Path) -> None:
    tasks = {
        "topic": Classify(),
        "roles": Tag(ignore=("_",)),
        "pairs": Classify(columns={"text": "text", "text_b": "text_b", "label": "label", "id": "id"}),
        "answers": Answer(),
    }
    for name, task in tasks.items():
        items = task.items(written / name / "train.jsonl")
        assert len(items) == len(records(written, name, "train"))
        assert task.learn(items).heads()


def test_sizes_are_limits(entries: tuple[Entry, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "SMALL_LIBRARY", 0)
    small = dict.fromkeys(TASKS, Sizes(train=40, dev=20, test=20))
    told = write_tasks(entries, tmp_path, small, FEWEST)
    for task in TASKS:
        for part, limit in (("train", 40), ("dev", 20), ("test", 20)):
            assert 0 < told[task][part]["records"] <= limit + (12 if task == "pairs" else 2)  # whole modules
    again = tmp_path / "again"
    write_tasks(tuple(reversed(entries)), again, small, FEWEST)
    for task in ("topic", "roles"):  # the order of entries has no say
        assert (again / task / "test.jsonl").read_bytes() == (tmp_path / task / "test.jsonl").read_bytes()
