"""The control of in-context learning: a small GPT that has only ever read documents with a map of their own each, asked
about maps it has never read, with 0 to 16 of their pairs before the question (the setting of Olsson et al., 2022,
"In-context Learning and Induction Heads", and of Chan et al., 2022, brought down to one skill).

    corpus -> tokenizer -> store -> pre-training -> `didact fewshot` on fresh maps, and on maps of held-out pairs

It is there to show that the parts work where the answer is known: without a demonstration nothing can be known, with
the key's own pair among them everything can. OUT/result.json has accuracy by number of shots, how many questions could
be answered at all, and accuracy on these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from didact.data.store import write_aside
from didact.errors import InputError
from didact.evaluation.fewshot import Asking, Trial, floors, summary
from didact.lab.incontext.maps import Maps
from didact.runs import fewshot, runfile
from didact.runs.corpus import prepare_store, train_tokenizer
from didact.runs.pretrain import pretrain
from didact.runs.schema import Part, PretrainRun

PLAN = Path(__file__).parent / "incontext.yaml"
KINDS = ("fresh", "held_out")


class Questions(Part):
    """maps: how many, of each kind; size: keys of each; rounds: how often each pair may be shown."""

    maps: int = Field(default=150, ge=1)
    size: int = Field(default=4, ge=1)
    rounds: int = Field(default=6, ge=2)


class Plan(Part):
    """maps: see `Maps`; documents: of the corpus; pretrain: a run file without `run` and `data.train`; questions;
    shots; seeds: of the demonstrations.
    """

    maps: Maps
    documents: int = Field(ge=1)
    pretrain: dict[str, Any]
    questions: Questions = Questions()
    shots: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    seeds: tuple[int, ...] = (0, 1, 2)


def run(out: Path, plan: Path = PLAN) -> Path:
    """Carry out the plan in `out`, what is done already left as it is; OUT/result.json. Raises InputError where `out`
    was begun with another plan.
    """
    chosen: Plan = runfile.read(plan, Plan)
    out.mkdir(parents=True, exist_ok=True)
    text, kept = runfile.dump(chosen), out / "plan.yaml"
    if kept.is_file() and kept.read_text(encoding="utf-8") != text:
        raise InputError("begun with another plan", file=kept, expected="the same, or another --out")
    kept.write_text(text, encoding="utf-8")
    _train(chosen, out)
    result: dict[str, Any] = {}
    for kind in KINDS:
        result[kind] = _ask(chosen, out, kind)
    write_aside(out / "result.json", json.dumps(result, indent=2) + "\n")
    _show(result)
    return out / "result.json"


def _train(plan: Plan, out: Path) -> None:
    """Corpus, tokenizer, store, model."""
    corpus, tokenizer, store = out / "corpus.jsonl", out / "tokenizer", out / "store"
    if not corpus.is_file():
        lines = (json.dumps({"text": text}) for text in plan.maps.documents(plan.documents))
        write_aside(corpus, "".join(f"{line}\n" for line in lines))
    if not (tokenizer / "tokenizer.json").is_file():
        train_tokenizer([str(corpus)], tokenizer, "word", plan.maps.keys + plan.maps.values + 16, sample_mb=10)
    if not (store / "store.json").is_file():
        prepare_store([str(corpus)], str(tokenizer), store, processes=1)
    data = {**plan.pretrain.get("data", {}), "train": str(store)}
    values = {**plan.pretrain, "run": str(out / "pretrain"), "data": data}
    pretrain(runfile.checked(PretrainRun, values, prefix="pretrain"))


def _ask(plan: Plan, out: Path, kind: str) -> list[dict[str, Any]]:
    """What the model makes of maps of a kind, a row for each number of shots."""
    records = out / f"{kind}.jsonl"
    asked = plan.questions
    rows = plan.maps.records(asked.maps, asked.size, asked.rounds, held=kind == "held_out")
    write_aside(records, "".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "fewshot": f"maps, {kind.replace('_', ' ')}",
        "templates": "{key} {answer}",
        "labels": {f"v{v}": f"v{v}" for v in range(plan.maps.values)},
        "answer": "value",
        "examples": records.name,
        "data": records.name,
        "separator": "\n",
        "within": "map",
        "repeats": True,
        "scoring": ["sum"],
    }
    file = out / f"{kind}.yaml"
    write_aside(file, json.dumps(task, indent=2) + "\n")  # JSON is YAML
    # The first round of each map is asked; its pairs come again in the others, which is where the answer is to be read.
    asking, trials = fewshot.ask_file(str(out / "pretrain"), file, plan.shots, plan.seeds, keep=_first_round)
    fewshot.write(out / kind, asking, trials, fewshot.as_json(str(out / "pretrain"), asking, trials))
    return [_row(asking, [t for t in trials if t.shots == shots], shots) for shots in plan.shots]


def _first_round(id: str) -> bool:
    return id.split(".")[1] == "0"


def _row(asking: Asking, trials: Sequence[Trial], shots: int) -> dict[str, Any]:
    """shown: the share of questions whose key is among the demonstrations that fitted; answered: accuracy on these."""
    (found,) = summary(asking, trials)
    right = [[c == case.gold for c, case in zip(t.chosen("sum"), asking.questions, strict=True)] for t in trials]
    shown = [
        [
            any(asking.pool.cases[d].fields == case.fields for d in own[prompt.dropped :])
            for case, own, prompt in zip(asking.questions, t.drawn, t.prompts, strict=True)
        ]
        for t in trials
    ]
    hit, seen = np.array(right, bool), np.array(shown, bool)
    return {
        "shots": shots,
        "questions": int(hit.size),
        "accuracy": found.accuracy.to_json(),
        "chance": floors(asking.questions)["chance"],
        "shown": float(seen.mean()),
        "answered": float(hit[seen].mean()) if seen.any() else None,
        "calibration_error": found.error,
    }


def _show(result: dict[str, Any]) -> None:
    table = Table("maps", "shots", "accuracy", "could be known", "accuracy on these", "chance")
    for kind, rows in result.items():
        for row in rows:
            own = row["accuracy"]
            known = "" if row["answered"] is None else f"{row['answered']:.4f}"
            told = f"{own['value']:.4f} [{own['low']:.4f}, {own['high']:.4f}]"
            table.add_row(kind, str(row["shots"]), told, f"{row['shown']:.4f}", known, f"{row['chance']:.4f}")
    Console(highlight=False).print(table)
