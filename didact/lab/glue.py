"""GLUE, all of it, by one file: `didact lab recipes/glue.yaml` fine-tunes the nine tasks, scores, averages, and writes
the leaderboard's files (Wang et al., 2019).

OUT/TASK is each task's fine-tuning run, skipped where it is finished; OUT/glue.json the scores; OUT/boards the files
that gluebenchmark.com takes, as a zip where all eleven are there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.table import Table

from didact import hub
from didact.data.store import write_aside
from didact.errors import InputError
from didact.runs import common, runfile
from didact.runs.finetune import finetune
from didact.runs.schema import FinetuneRun, Part
from didact.tasks import Glue
from didact.tasks.answering import answer
from didact.tasks.glue import MEMBERS, Name, average, task_score, write_board, write_submission

FOLDERS: dict[Name, str] = {
    "cola": "CoLA", "sst2": "SST-2", "mrpc": "MRPC", "stsb": "STS-B", "qqp": "QQP", "mnli": "MNLI", "qnli": "QNLI",
    "rte": "RTE", "wnli": "WNLI",
}  # fmt: skip
"""where the official download has each task's files"""


class GlueRun(Part):
    """A GLUE file. glue: the folder of the official download (CoLA/train.tsv, MNLI/dev_matched.tsv …); run: the folder
    to write; start: the checkpoint; tasks: some of the nine; finetune: keys of a fine-tuning run that all tasks
    share; own: keys of single tasks, which replace them ({"rte": {"budget": {"epochs": 10}}}).
    """

    glue: Path
    run: Path = Path("runs/glue")
    start: str
    tasks: tuple[Name, ...] = tuple(FOLDERS)
    finetune: dict[str, Any] = Field(default_factory=dict)
    own: dict[Name, dict[str, Any]] = Field(default_factory=dict)


def run(file: Path, out: Path | None = None) -> Path:
    """Carry out the file; OUT/glue.json. Raises InputError before anything is trained where a file is missing."""
    chosen: GlueRun = runfile.read(file, GlueRun)
    folder = out or chosen.run
    runs = [_finetuning(chosen, folder, name) for name in chosen.tasks]
    mismatched = [_second_dev(chosen.glue)] if "mnli" in chosen.tasks else []
    for path in (*(path for own in runs for path in (own.data.train, own.data.dev)), *mismatched):
        if not isinstance(path, Path) or not path.is_file():
            raise InputError("no such file", file=str(path), expected="GLUE's official download")
    scores: dict[str, dict[str, float]] = {}
    for name, own in zip(chosen.tasks, runs, strict=True):
        finetune(own)
        scores[name] = _mean(_seeds(own.run), name)
        if name == "mnli":
            scores["mnli_mismatched"] = _mismatched(chosen.glue, own)
        _boards(chosen.glue, own, name, folder / "boards")
    complete = set(FOLDERS) <= set(chosen.tasks)
    result = {"scores": scores, "average": average(scores) if complete else None}
    folder.mkdir(parents=True, exist_ok=True)
    write_aside(folder / "glue.json", json.dumps(common.spoken(result), indent=2) + "\n")
    _show(scores, result["average"], folder)
    return folder / "glue.json"


def _finetuning(chosen: GlueRun, folder: Path, name: Name) -> FinetuneRun:
    data = chosen.glue / FOLDERS[name]
    dev = "dev_matched.tsv" if name == "mnli" else "dev.tsv"
    values = {
        **chosen.finetune,
        **chosen.own.get(name, {}),
        "run": str(folder / name),
        "start": chosen.start,
        "task": {"glue": {"name": name}},
        "data": {"train": str(data / "train.tsv"), "dev": str(data / dev)},
    }
    return runfile.checked(FinetuneRun, values, prefix=f"finetune ({name})")


def _seeds(run: Path) -> Mapping[str, Any]:
    result = common.finished(run)
    assert result is not None
    return result["seeds"]


def _second_dev(data: Path) -> Path:
    return data / "MNLI" / "dev_mismatched.tsv"


def _mean(seeds: Mapping[str, Any], name: str) -> dict[str, float]:
    """Each official score, over seeds."""
    return {score: fmean(own["dev"][score] for own in seeds.values()) for score in MEMBERS[name].scores}


def _mismatched(data: Path, run: FinetuneRun) -> dict[str, float]:
    """MNLI's models on its second dev file, over seeds."""
    file = _second_dev(data)
    found = []
    for seed in _seeds(run.run):
        model = hub.load(run.run / f"seed-{seed}")
        task = Glue("mnli", length=run.length)
        dataset = task.read(file, model.tokenizer)
        found.append(task.score(task.decode(dataset, answer(model.model, task, dataset)), dataset.items))
    return {score: fmean(own[score] for own in found) for score in MEMBERS["mnli"].scores}


def _boards(data: Path, run: FinetuneRun, name: Name, boards: Path) -> None:
    """The leaderboard's files that this task's best model answers, of the test files that are there."""
    members: dict[Name, Path] = {name: data / FOLDERS[name]}
    if name == "mnli":
        members["ax"] = data / "diagnostic"
    model = hub.load(run.run)
    for member, folder in members.items():
        for board, test in MEMBERS[member].boards.items():
            file = folder / f"{test}.tsv"
            if not file.is_file():
                continue
            task = Glue(member, length=run.length)
            dataset = task.read(file, model.tokenizer, labelled=False)
            write_board(board, task.decode(dataset, answer(model.model, task, dataset)), boards)
    wanted = [board for member in MEMBERS.values() for board in member.boards]
    if all((boards / f"{board}.tsv").is_file() for board in wanted):
        write_submission(boards)


def _show(scores: Mapping[str, Mapping[str, float]], mean: float | None, folder: Path) -> None:
    table = Table("task", "scores (dev, mean over seeds)", "in the average")
    for name, own in scores.items():
        said = " · ".join(f"{score} {value:.4f}" for score, value in own.items())
        table.add_row(name, said, f"{task_score(name.removesuffix('_mismatched'), own):.4f}")
    if mean is not None:
        table.add_row("GLUE", "", f"{mean:.4f}")
    console = Console(stderr=True, highlight=False)
    console.print(table)
    if (folder / "boards" / "submission.zip").is_file():
        console.print(f"{folder / 'boards' / 'submission.zip'}", markup=False, soft_wrap=True)
