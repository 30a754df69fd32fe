"""Encoder–decoders that learn to write from nothing but pairs of texts, and what the decoder's options bring.

    python -m benchmarks.written                                  every cell, one after another
    python -m benchmarks.written --cells multi30k:didact:0 …      some of them (task:arm:seed)
    python -m benchmarks.written --list | --table

    multi30k    English to German, minutes of the clock: didact beside transformers' MarianMTModel, same first weights,
                tokenizer, optimizer, batch, schedule and beams
    phonemes    spelling to phonemes (CMUdict), a number of steps: with and without guided attention
    questions   a question for a sentence (SQuAD), some epochs: with and without copying

Both sides train in bfloat16 where the processor multiplies it natively, else in float32.

A cell that is in the results file is not run again; a cell of ours that was interrupted goes on where it was, one of
theirs begins anew. Data: ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha1
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cells import Line, difference, keep, serve
from didact import hub
from didact.data.files import read_text
from didact.errors import InputError
from didact.lab.bench import machine
from didact.lab.sheets import answers_in
from didact.runs import runfile
from didact.runs.begin import Begin
from didact.runs.build import task_of
from didact.runs.corpus import train_tokenizer
from didact.runs.finetune import finetune
from didact.runs.schema import FinetuneRun
from didact.tasks import Task

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "seq2seq"
SPLITS = ("train", "dev", "test")
RARE = 3  # times, at most, that a rare word stands in the training targets
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Setting:
    """One task. pairs: of each split; pieces: kind and size of the tokenizer; model, task: keys of the run file; arms:
    by name, further keys of the task; budget, rate, batch, warmup: of every run, budgets: of arms that have their own;
    seeds: of each arm; better: which arms are compared.
    """

    pairs: Callable[[], dict[str, Pairs]]
    pieces: tuple[str, int]
    model: dict[str, Any]
    task: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    budget: dict[str, Any]
    rate: float
    batch: int
    length: int
    better: tuple[tuple[str, str], ...]
    warmup: float = 0.05
    seeds: tuple[int, ...] = (0, 1, 2)
    budgets: dict[str, dict[str, Any]] = field(default_factory=dict)


def file(name: str) -> Path:
    if not DATA.is_dir():
        raise InputError("no data", file=DATA, expected="the folder of real data beside the repository")
    return DATA / name


def lines(name: str) -> list[str]:
    return read_text(file(name)).rstrip("\n").split("\n")


def translations() -> dict[str, Pairs]:
    names = {"train": "train", "dev": "val", "test": "test_2016_flickr"}
    sides = {split: [lines(f"multi30k/{name}.{side}.gz") for side in ("en", "de")] for split, name in names.items()}
    return {split: list(zip(*both, strict=True)) for split, both in sides.items()}


def spellings() -> dict[str, Pairs]:
    """Words of letters alone, their first pronunciation without stress; 20,000, 500 and 2,000 by their SHA-1."""
    found: dict[str, str] = {}
    for line in lines("cmudict/cmudict.txt.xz"):
        word, number, *phonemes = line.split()
        if number == "1" and word.isalpha() and word.isascii():
            found[word] = " ".join(phoneme.rstrip("012") for phoneme in phonemes)
    order = sorted(found, key=lambda word: sha1(word.encode()).hexdigest())
    made = [(" ".join(word.lower()), found[word]) for word in order]
    return {"test": made[:2000], "dev": made[2000:2500], "train": made[2500:22500]}


def questions() -> dict[str, Pairs]:
    """Sentence and question: learned from the published test split, looked at on a tenth of dev's sentences (by SHA-1),
    measured on 2,000 of the others.
    """
    train, held = (
        list(zip(*(lines(f"squad-questions/{side}-{split}.txt") for side in ("src", "tgt")), strict=True))
        for split in ("test", "dev")
    )
    place = {pair: int(sha1(pair[0].encode()).hexdigest(), 16) for pair in held}
    dev = [pair for pair in held if place[pair] % 10 == 0][:500]
    test = sorted((pair for pair in held if place[pair] % 10), key=lambda pair: sha1(pair[0].encode()).hexdigest())
    return {"train": train, "dev": dev, "test": test[:2000]}


GUIDED: dict[str, dict[str, Any]] = {"guided": {"guided": 1.0}, "plain": {}}
STEPS = (150, 300, 600, 1200)
SMALL = {"family": "transformer", "heads": 4, "dropout": 0.1, "init_std": 0.088}  # 1 / sqrt(128), Glorot's as well
SETTINGS: dict[str, Setting] = {
    "multi30k": Setting(
        translations, ("bpe", 5000), SMALL | {"layers": 4, "width": 128, "feedforward": 256, "dropout": 0.2},
        {"smoothing": 0.1, "target_length": 80, "scores": ["bleu", "chrf"], "decoding": {"beams": 4}},
        {"didact": {}, "transformers": {}}, {"minutes": 30}, rate=2e-3, batch=256, length=80,
        better=(("didact", "transformers"),),
    ),
    "phonemes": Setting(
        spellings, ("word", 128), SMALL | {"layers": 2, "width": 128, "feedforward": 512},
        {"target_length": 32, "scores": ["per", "exact"], "decoding": {"beams": 1}},
        {f"{arm}-{n}": own for n in STEPS for arm, own in GUIDED.items()},
        {}, rate=1e-3, batch=128, length=40, budgets={f"{arm}-{n}": {"steps": n} for n in STEPS for arm in GUIDED},
        better=tuple((f"guided-{n}", f"plain-{n}") for n in STEPS),
    ),
    "questions": Setting(
        questions, ("bpe", 16000), SMALL | {"layers": 2, "width": 128, "feedforward": 512, "dropout": 0.3},
        {"target_length": 48, "scores": ["bleu", "rougeL"], "decoding": {"beams": 4}},
        {"copy": {"copy": True}, "plain": {}}, {"epochs": 10}, rate=1e-3, batch=64, length=96,
        better=(("copy", "plain"),),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """task:arm:seed."""

    task: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}:{self.arm}:{self.seed}"


def cells() -> list[Cell]:
    """All of them, seed by seed, so that an early stop leaves comparisons behind."""
    found = [Cell(task, arm, seed) for task, s in SETTINGS.items() for arm in s.arms for seed in s.seeds]
    return sorted(found, key=lambda cell: cell.seed)


@dataclass(frozen=True)
class Work:
    """One cell. out: of all; minutes: in place of the setting's, for a trial; precision: both sides train in it."""

    cell: Cell
    out: Path
    minutes: float | None = None
    precision: str = field(default_factory=lambda: "bf16" if machine.has_bf16() else "fp32")

    @property
    def setting(self) -> Setting:
        own = SETTINGS[self.cell.task]
        return own if self.minutes is None else replace(own, budget={"minutes": self.minutes}, budgets={})

    @property
    def run(self) -> FinetuneRun:
        """The run file of the cell."""
        s, home = self.setting, self.out / self.cell.task
        write(s, home)
        values = {
            "run": str(self.out / "runs" / self.cell.name.replace(":", "-")),
            "seed": self.cell.seed,
            "tokenizer": str(home / "tokenizer"),
            "model": s.model,
            "task": {"translate": s.task | s.arms[self.cell.arm]},
            "data": {split: str(home / f"{split}.{{source,target}}") for split in SPLITS},
            "length": s.length,
            "batch": {"size": f"{s.batch} sequences"},
            "budget": s.budgets.get(self.cell.arm, s.budget),
            "optimizer": {"learning_rate": s.rate, "betas": [0.9, 0.98], "eps": 1e-9, "weight_decay": 0.01},
            "schedule": {"kind": "linear", "warmup": s.warmup},
            "hardware": {"precision": self.precision},
        }
        return runfile.checked(FinetuneRun, values)

    def result(self) -> dict[str, Any]:
        """Train, write the test set, and score it; its line of the results file."""
        run = self.run
        begin = Begin.of(run)
        task = task_of(run.task, run.length).suited(begin.config, begin.tokenizer, begin.family.encoder)
        used = time.process_time()
        predictions, spent = (self._theirs if self.cell.arm == "transformers" else self._ours)(run, begin, task)
        used = time.process_time() - used
        keep(self.out, self.cell.name, predictions)
        test = task.items(run.data.test or "")
        scores = task.score(predictions, test)
        if self.cell.task == "questions":
            scores |= copied(self.out / self.cell.task, predictions)
        return {
            "cell": self.cell.name,
            "task": self.cell.task,
            "arm": self.cell.arm,
            "seed": self.cell.seed,
            "scores": scores,
            "main": task.main,
            **spent,
            "processor_seconds": used,
            "run": run.model_dump(mode="json", exclude={"run", "hardware", "record", "quiet", "plugins"}),
            "precision": self.precision,
            "machine": machine.describe(),
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }

    def _ours(self, run: FinetuneRun, begin: Begin, task: Task) -> tuple[list[dict[str, Any]], dict[str, Any]]:  # noqa: ARG002
        finetune(run)
        folder = run.run / f"seed-{self.cell.seed}"
        result = json.loads((folder / "result.json").read_text())
        predictions = answers_in(folder / "predictions-test.jsonl")
        spent = {"steps": result["steps"], "tokens": result["tokens"], "train_seconds": result["seconds"]}
        return predictions, spent | {"dev": result["dev"]}

    def _theirs(self, run: FinetuneRun, begin: Begin, task: Task) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        from benchmarks import written_peer

        start = self.out / self.cell.task / f"start-{self.cell.seed}"
        generator = torch.Generator().manual_seed(self.cell.seed)
        fresh = begin.load(task.heads(), generator)
        hub.export(fresh, start)
        return written_peer.finetune(run, task, begin.tokenizer, fresh, start)


def write(setting: Setting, home: Path) -> None:
    """The setting's files and its tokenizer, learned from the training pairs, where they do not lie there yet."""
    if (home / "tokenizer" / "tokenizer.json").is_file():
        return
    home.mkdir(parents=True, exist_ok=True)
    for split, pairs in setting.pairs().items():
        for number, side in enumerate(("source", "target")):
            text = "\n".join(pair[number].strip() for pair in pairs) + "\n"
            (home / f"{split}.{side}").write_text(text, encoding="utf-8")
    kind, size = setting.pieces
    corpus = [str(home / f"train.{side}") for side in ("source", "target")]
    train_tokenizer(corpus, home / "tokenizer", kind, size, cased=True)  # type: ignore[arg-type]


def copied(home: Path, predictions: Sequence[dict[str, Any]]) -> dict[str, float]:
    """rare: of the words that a reference has from its source, and the training targets at most `RARE` times, the share
    that was written.
    """
    known = Counter((home / "train.target").read_text(encoding="utf-8").split())
    sources, targets = (
        (home / f"test.{side}").read_text(encoding="utf-8").rstrip("\n").split("\n") for side in ("source", "target")
    )
    asked = right = 0
    for source, target, prediction in zip(sources, targets, predictions, strict=True):
        wanted = {word for word in target.split() if known[word] <= RARE} & set(source.split())
        asked += len(wanted)
        right += len(wanted & set(prediction["target"].split()))
    return {"rare": right / max(asked, 1), "rare_words": asked}


def table(found: Iterable[Line], out: Path) -> str:
    """Markdown: the scores of each arm, mean and seeds; the differences of arms with their paired 95 % intervals."""
    header = ["task", "arm", "seeds", "scores", "steps", "training, s", "difference of the first score"]
    rows = [header, ["---"] * len(header)]
    for task, group in groupby(sorted(found, key=lambda r: (r["task"], r["seed"])), key=lambda r: r["task"]):
        own = list(group)
        for arm in SETTINGS[task].arms:
            some = [r for r in own if r["arm"] == arm]
            if not some:
                continue
            names = [n for n in some[0]["scores"] if n != "rare_words"]
            scores = " · ".join(_mean(name, [c["scores"][name] for c in some]) for name in names)
            other = next((b for a, b in SETTINGS[task].better if a == arm), None)
            rivals = [r for r in own if r["arm"] == other]
            change = _difference(task, some, rivals, out) if rivals else ""
            seeds = ", ".join(str(c["seed"]) for c in some)
            steps, seconds = (f"{np.median([c[key] for c in some]):.0f}" for key in ("steps", "train_seconds"))
            rows.append([task, arm, seeds, scores, steps, seconds, change])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _mean(name: str, values: Sequence[float]) -> str:
    return f"{name} {np.mean(values):.4f} ({', '.join(f'{value:.4f}' for value in values)})"


def _difference(name: str, ours: list[Line], theirs: list[Line], out: Path) -> str:
    """The one arm less the other, sentences and seeds drawn together."""
    run = Work(Cell(name, ours[0]["arm"], ours[0]["seed"]), out).run
    begin = Begin.of(run)
    task = task_of(run.task, run.length).suited(begin.config, begin.tokenizer, begin.family.encoder)
    return difference(task, ours, theirs, task.items(run.data.test or ""), out)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.written", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "written")
    parser.add_argument("--minutes", type=float, help="in place of the setting's budget: a trial, not a result")
    known = {cell.name: cell for cell in cells()}
    serve(parser, known, lambda name, given: Work(known[name], given.out, given.minutes).result(), table, arguments)


if __name__ == "__main__":
    try:
        main()
    except InputError as problem:
        sys.exit(f"benchmarks: {problem}")
