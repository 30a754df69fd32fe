"""The four labelled tasks as files: FOLDER/{topic,roles,pairs,answers}/{train,dev,test}.jsonl and counts.json.

Every label is true by construction. Text that stands in one split stands in no other: the split is by package subtree,
and what is repeated between subtrees all the same (an opening, a description, a parameter explained in equal words)
counts once, in the test split first. Each record's `group` is its subtree: what comes from one belongs together. Files
are in an order fixed by a hash, so the first n lines are a fair sample.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didact.data.installed_docs import answers, pairs, roles, topic
from didact.data.installed_docs.entries import Entry
from didact.data.installed_docs.split import Split, places_of

Record = dict[str, Any]
SPLITS: tuple[Split, ...] = ("test", "dev", "train")  # in this order: what is repeated stays in the first


@dataclass(frozen=True)
class Sizes:
    """At most so many records of each split."""

    train: int
    dev: int
    test: int

    def of(self, split: Split) -> int:
        return {"train": self.train, "dev": self.dev, "test": self.test}[split]


SIZES: Mapping[str, Sizes] = {
    "topic": Sizes(train=6000, dev=800, test=3000),
    "roles": Sizes(train=3000, dev=400, test=1500),
    "pairs": Sizes(train=6000, dev=1000, test=4000),
    "answers": Sizes(train=4000, dev=500, test=2000),
}
TASKS: tuple[str, ...] = tuple(SIZES)
# A library is a class of the topic task where it has at least so many texts in each split.
FEWEST_TEXTS: Mapping[Split, int] = {"train": 200, "dev": 10, "test": 60}
FEWEST_CLASSES = 10  # that the topic task's sizes are shared out between
ASKED_OF_ONE_TEXT = 2  # questions on one docstring


def write_tasks(
    entries: Sequence[Entry],
    folder: Path,
    sizes: Mapping[str, Sizes] = SIZES,
    fewest_texts: Mapping[Split, int] = FEWEST_TEXTS,
) -> dict[str, Any]:
    """Writes the files and returns what counts.json says: records by task, split and label."""
    by_split: dict[Split, list[Entry]] = {split: [] for split in SPLITS}
    places = places_of(entries)
    for entry in sorted(entries, key=lambda e: _rank(e.id)):
        by_split[places[entry.library, entry.module].split].append(entry)
    subtrees = {module: place.subtree for (_, module), place in places.items()}
    makers: dict[str, Callable[[], Iterator[tuple[Split, Record]]]] = {
        "topic": lambda: _topic(by_split, sizes["topic"], fewest_texts),
        "roles": lambda: _roles(by_split, sizes["roles"]),
        "pairs": lambda: _pairs(by_split, sizes["pairs"]),
        "answers": lambda: _answers(by_split, sizes["answers"]),
    }
    told: dict[str, Any] = {}
    for name, make in makers.items():
        made: dict[Split, list[Record]] = {split: [] for split in SPLITS}
        for split, record in make():
            made[split].append(record | {"group": subtrees[record["id"].partition(":")[0]]})
        for split, records in made.items():
            records.sort(key=lambda record: _rank("order " + record["id"]))  # not the order they were chosen in
            _write(records, folder / name / f"{split}.jsonl")
        told[name] = {split: _counted(name, made[split]) for split in reversed(SPLITS)}
    _replace(folder / "counts.json", json.dumps(told, indent=1))
    return told


def _topic(
    by_split: Mapping[Split, Sequence[Entry]], sizes: Sizes, fewest: Mapping[Split, int]
) -> Iterator[tuple[Split, Record]]:
    mask, seen = topic.mask_of(), set[str]()
    labels = set.intersection(*({entry.library for entry in by_split[split]} for split in SPLITS))
    found: dict[Split, dict[str, list[topic.Topic]]] = {}
    for split in SPLITS:
        most = max(fewest[split], -(-sizes.of(split) // FEWEST_CLASSES))
        found[split] = _by_label((e for e in by_split[split] if e.library in labels), mask, seen, labels, most)
        labels = {name for name in labels if len(found[split][name]) >= fewest[split]}
    for split in SPLITS:
        most = -(-sizes.of(split) // max(1, len(labels)))  # of each class, so that none rules
        for name in sorted(labels):
            for one in found[split][name][:most]:
                yield split, {"id": one.id, "text": one.text, "label": one.label}


def _by_label(
    entries: Iterable[Entry], mask: topic.Mask, seen: set[str], labels: set[str], most: int
) -> dict[str, list[topic.Topic]]:
    """At most `most` texts of each label; a label that has them is looked at no further."""
    found: dict[str, list[topic.Topic]] = {name: [] for name in labels}
    wanted = (entry for entry in entries if len(found[entry.library]) < most)
    for one in topic.topics(wanted, mask, seen):
        found[one.label].append(one)
    return found


def _roles(by_split: Mapping[Split, Sequence[Entry]], sizes: Sizes) -> Iterator[tuple[Split, Record]]:
    seen: set[tuple[str, ...]] = set()
    for split in SPLITS:
        made = 0
        for entry in by_split[split]:
            if made >= sizes.of(split):
                break
            if not entry.code or (found := roles.tagged(entry)) is None:
                continue
            mark = found.words[:30]
            if mark in seen:
                continue
            seen.add(mark)
            made += 1
            yield split, {"id": entry.id, "words": list(found.words), "tags": list(found.tags)}


def _pairs(by_split: Mapping[Split, Sequence[Entry]], sizes: Sizes) -> Iterator[tuple[Split, Record]]:
    seen: set[str] = set()
    for split in SPLITS:
        modules: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in by_split[split]:
            modules[entry.module].append(entry)
        made = 0
        for members in modules.values():
            if made >= sizes.of(split):
                break
            # whole modules: in a part of one, a description would stand under one label only
            for pair in pairs.pairs(members, seen):
                made += 1
                record = {"id": f"{pair.id}/{pair.label}", "text": pair.signature, "text_b": pair.description}
                yield split, record | {"label": pair.label}


def _answers(by_split: Mapping[Split, Sequence[Entry]], sizes: Sizes) -> Iterator[tuple[Split, Record]]:
    seen: set[tuple[str, str]] = set()
    for split in SPLITS:
        made = 0
        for entry in by_split[split]:
            if made >= sizes.of(split):
                break
            asked = [q for q in answers.questions(entry.doc) if (q.parameter, q.answer) not in seen]
            asked.sort(key=lambda q: _rank(f"{entry.id}({q.parameter})"))
            for q in asked[:ASKED_OF_ONE_TEXT]:
                seen.add((q.parameter, q.answer))
                made += 1
                record = {"id": f"{entry.id}({q.parameter})", "question": q.question, "context": q.context}
                yield split, record | {"answer": q.answer, "start": q.start}


def _counted(task: str, records: Sequence[Record]) -> dict[str, Any]:
    if task == "roles":
        labels = Counter(tag for record in records for tag in record["tags"] if tag != roles.NOT_ASKED)
    elif task == "answers":
        labels = Counter({"contexts": len({record["context"] for record in records})})
    else:
        labels = Counter(record["label"] for record in records)
    return {"records": len(records), **dict(labels.most_common())}


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _write(records: Iterable[Record], path: Path) -> None:
    _replace(path, "".join(json.dumps(record) + "\n" for record in records))


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
