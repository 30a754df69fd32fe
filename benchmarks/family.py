"""Every family in both languages, by run files alone: its recipe pre-trains on real text at a small size, is killed and
resumed, and is fine-tuned on the four cases (Devlin et al., 2019, figure 4).

    python -m benchmarks.family                        every row that is not done: family by family, en then zh
    python -m benchmarks.family --rows gpt2:en elmo:zh some of them
    python -m benchmarks.family --list                 what there is, and what is done
    python -m benchmarks.family --table                Markdown of what is done

A row that is in OUT/family.jsonl is not run again. Scores at this size say that a road is whole, not which is better.
The text and the tasks are those of `benchmarks.slices`.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from benchmarks import slices
from benchmarks.cells import add, finished
from didact.errors import InputError, Interrupted
from didact.families import FAMILIES, by_name
from didact.runs import runfile
from didact.runs.corpus import prepare_store, say, train_tokenizer
from didact.runs.finetune import finetune
from didact.runs.pretrain import pretrain
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.training.record import read_metrics

RECIPES = slices.ROOT / "recipes"
RECIPE = {  # families whose recipe has another name
    "bert": "bert-base",
    "electra": "electra-small",
    "deberta-v2": "deberta",
    "openai-gpt": "gpt2",
    "transformer": "bart",  # which was only ever trained on pairs
    "mbart": "bart",
    "mt5": "t5",
}
CASES = {"text": "classify", "pair": "pair", "tag": "tag", "answer": "answer"}  # folder -> recipe
PIECES = {"en": 2000, "zh": 4000}
STEPS, EVERY, LENGTH, MAXIMUM = 60, 20, 64, 128
TUNED, LIMIT = 24, 100  # steps, records of each file
SENTINELS = 32
CLOCK = {"seconds", "tokens_per_second", "memory_mib", "mfu"}  # what differs between two equal runs
TEACHER = "bert"
UPOS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"  # few sentences lack some


@dataclass(frozen=True)
class Row:
    """family:language."""

    family: str
    language: str

    @property
    def name(self) -> str:
        return f"{self.family}:{self.language}"


ROWS = tuple(Row(family.name, language) for family in FAMILIES for language in slices.LANGUAGES)


@dataclass(frozen=True)
class Place:
    """Where a row's things lie. data: what `slices` wrote."""

    data: Path
    row: Row

    @property
    def folder(self) -> Path:
        return self.data / "rows" / f"{self.row.family}-{self.row.language}"

    @property
    def corpus(self) -> Path:
        return self.data / self.row.language / "little.txt"

    @property
    def recipe(self) -> Path:
        """The run file of the family's pre-training."""
        return RECIPES / f"{RECIPE.get(self.row.family, self.row.family)}.yaml"

    def store(self) -> Path:
        """A store of the language by the kind of tokenizer that the family has, made once; with the sentinels that the
        recipe's objective writes.
        """
        kind, language = by_name(self.row.family).tokenizer, self.row.language
        sentinels = SENTINELS if "span_corruption" in runfile.values_of(self.recipe)["objective"] else 0
        room = self.data / language / "kinds" / f"{kind}{'-sentinels' if sentinels else ''}"
        if not (room / "tokenizer").is_dir():
            pieces = PIECES[language]
            train_tokenizer([str(self.corpus)], room / "tokenizer", kind, pieces, sentinels=sentinels)  # type: ignore[arg-type]
        if not (room / "store" / "store.json").is_file():
            prepare_store([str(self.corpus)], str(room / "tokenizer"), room / "store", validation=0.1, processes=1)
        return room / "store"


def sizes(family: str) -> list[str]:
    """The family's recipe, made small: nothing but sizes, as changes on the command line."""
    base = by_name(family).base
    changes = ["layers=2", "width=64", f"heads={min(4, base.heads)}", "feedforward=128"]
    changes += [f"position.maximum={MAXIMUM}"] if base.position.maximum is not None else []
    changes += ["characters={filters: [[1, 8], [2, 8], [3, 16]], longest: 16}"] if base.characters.filters else []
    return [f"model.{change}" for change in changes]


def pretraining(place: Place, folder: Path) -> tuple[Path, list[str]]:
    """The recipe's file, and the changes that make it small and name its data."""
    family, file = place.row.family, place.recipe
    changes = [
        f"run={folder}",
        f"data.train={place.store()}",
        f"data.length={LENGTH}",
        "data.workers=0",
        f"model.family={family}",
        *sizes(family),
        "batch={size: 16 sequences, micro_tokens: 2048}",
        f"budget={{steps: {STEPS}}}",
        f"validation={{every: {EVERY}, sequences: 64, rates: [0.15]}}",
        f"checkpoints={{every: {EVERY}}}",
        "optimizer.learning_rate=2.0e-3",
        "hardware={threads: 1, compile: off}",
        "quiet=true",
    ]
    content = runfile.values_of(file)
    if "teacher" in content:
        teacher = Place(place.data, Row(TEACHER, place.row.language)).folder / "whole"
        changes += [f"teacher={teacher}", f"model.start_thinned={teacher}", "model.layers=1"]
    return file, changes


def tuning(place: Place, start: Path, case: str) -> tuple[Path, list[str]]:
    """A task's recipe with its files and little of them."""
    language = place.row.language
    files = place.data / language / case
    suffix = next(path.suffix for path in sorted(files.glob("train.*")))
    changes = [
        f"run={place.folder / case}",
        f"start={start}",
        *(f"data.{split}={files / split}{suffix}" for split in ("train", "dev", "test")),
        f"data.limit={LIMIT}",
        f"length={96 if case == 'answer' else LENGTH}",
        "batch={size: 16 sequences}",
        f"budget={{steps: {TUNED}}}",
        "seeds=[0]",
        "optimizer.learning_rate=1.0e-3",
        "hardware={threads: 1, compile: off}",
        "quiet=true",
    ]
    changes += ["task.classify.pooling=mean"] if case in ("text", "pair") else []
    changes += [f"task.tag.tags=[{', '.join(UPOS.split())}]"] if case == "tag" else []
    changes += ["task.tag.joiner=''"] if case == "tag" and language == "zh" else []
    if case == "answer":
        changes.append("task.answer.stride=24")
    if case == "answer" and language == "en":
        changes += [
            "task.answer.columns={context: 0, question: 5, words: [6, 7, 8]}",
            f"task.answer.contexts={files / 'contexts.tsv'}",
        ]
    return RECIPES / f"{CASES[case]}.yaml", changes


def killed(file: Path, changes: list[str], folder: Path) -> int:
    """Start the run as a user does, kill it (SIGKILL) as soon as it has a checkpoint; the step it had reached."""
    log = folder.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "didact", "pretrain", str(file), *changes], stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None and not (folder / "last").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if process.returncode >= 0:
        raise RuntimeError(f"not killed in time, or failed: {log.read_text().strip().splitlines()[-1:]}")
    return max((event["step"] for event in events(folder)), default=0)


def events(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock says; a line cut off by a kill is not one."""
    told = read_metrics(run / "metrics.jsonl")
    return [{name: value for name, value in event.items() if name not in CLOCK} for event in told]


def weights(run: Path) -> list[tuple[str, str]]:
    """Every file of tensors in the last checkpoint's model folders, by its hash."""
    last = (run / "last").resolve()
    return [
        (str(path.relative_to(last)), sha256(path.read_bytes()).hexdigest())
        for path in sorted(last.rglob("*.safetensors"))
    ]


def losses(run: Path) -> tuple[float, float]:
    """The training loss of the first and of the last line."""
    trained = [event["loss"] for event in events(run) if event["kind"] == "train"]
    return trained[0], trained[-1]


def carry_out(place: Place) -> dict[str, Any]:
    """One row: a whole run, a killed and resumed one, four fine-tunings."""
    place.folder.mkdir(parents=True, exist_ok=True)
    used = time.process_time()
    whole, broken = place.folder / "whole", place.folder / "broken"
    file, changes = pretraining(place, whole)
    pretrain(runfile.read(file, PretrainRun, changes))
    result = json.loads((whole / "result.json").read_text())
    file, changes = pretraining(place, broken)
    reached = EVERY
    if not (broken / "result.json").is_file():
        reached = killed(file, changes, broken)
        pretrain(runfile.read(file, PretrainRun, changes))
    same = events(whole) == events(broken) and weights(whole) == weights(broken) != []
    scores = {}
    for case in CASES:
        file, changes = tuning(place, whole, case)
        finetune(runfile.read(file, FinetuneRun, changes))
        tuned = json.loads((place.folder / case / "result.json").read_text())
        scores[case] = {"metric": tuned["main"], "value": tuned["seeds"]["0"]["test"][tuned["main"]]}
    before, after = losses(whole)
    return {
        "row": place.row.name,
        "steps": result["steps"],
        "tokens": result["tokens"],
        "before": before,
        "after": after,
        "killed_at": reached,
        "resumed_same": same,
        "scores": scores,
        "seconds": round(time.process_time() - used, 1),
    }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown, a line a row."""
    head = ["family", "language", "steps", "tokens", "loss, first 10 steps", "last 10", "killed at", "resumed the same"]
    rows = [[*head, *CASES, "processor, s"]]
    rows.append(["---"] * len(rows[0]))
    for line in sorted(lines, key=lambda line: [row.name for row in ROWS].index(line["row"])):
        family, language = line["row"].split(":")
        scores = [f"{line['scores'][case]['value']:.3f}" for case in CASES]
        losses = [f"{line['before']:.2f}", f"{line['after']:.2f}"]
        same = "yes" if line["resumed_same"] else "no"
        sizes = [f"{line['steps']:,}", f"{line['tokens']:,}"]
        rows.append(
            [family, language, *sizes, *losses, str(line["killed_at"]), same, *scores, f"{line['seconds']:.0f}"]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.family", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", nargs="+", default=[], metavar="FAMILY:LANGUAGE")
    parser.add_argument("--out", type=Path, default=slices.OUT)
    parser.add_argument("--data", type=Path, default=slices.DATA)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args(arguments)
    results = given.out / "family.jsonl"
    done = {line["row"] for line in finished(results)}
    known = {row.name: row for row in ROWS}
    if given.list:
        print("\n".join(f"{name}{'  done' if name in done else ''}" for name in known))
        return
    if given.table:
        print(table(finished(results)))
        return
    if unknown := [name for name in given.rows if name not in known]:
        parser.error(f"no rows {', '.join(unknown)}; known: {', '.join(known)}")
    slices.make(given.out, given.data)
    torch.set_num_threads(1)
    failed = []
    for name in given.rows or known:
        if name in done:
            continue
        try:
            line = carry_out(Place(given.out, known[name]))
        except Interrupted:  # saved: the same command goes on
            raise
        except (InputError, RuntimeError, ValueError, KeyError) as problem:  # the other rows are none the worse
            failed.append(name)
            say(f"{name}: failed, {type(problem).__name__}: {problem}")
            continue
        add(results, line)
        say(f"{name}: {json.dumps(line)}")
    if failed:
        sys.exit(f"benchmarks: without a result: {', '.join(failed)}")


if __name__ == "__main__":
    try:
        main()
    except (InputError, Interrupted) as problem:
        sys.exit(f"benchmarks: {problem}")
