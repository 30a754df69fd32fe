"""`didact fewshot`: a task file, a model, and what it makes of so many examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from didact.data.files import make_folder
from didact.data.store import write_aside
from didact.errors import InputError
from didact.evaluation.fewshot import (
    SCORINGS,
    Asking,
    Case,
    Draw,
    Fewshot,
    Found,
    Pool,
    Scoring,
    Template,
    Trial,
    Writes,
    cases,
    floors,
    reader_of,
    summary,
)
from didact.generation.masked import Order
from didact.runs import runfile
from didact.runs.common import spoken
from didact.runs.corpus import say
from didact.runs.place import AUTO, Place
from didact.runs.schema import Part


class TaskFile(Part):
    """A task file. fewshot: its name; description: before everything else; templates: texts with the fields of a record
    in braces and one {answer}, each asked in turn; labels: the words that stand for each label, one or several;
    choices: instead, the field in which each record brings its own; answer: the field of the right label, or of the
    number or text of the right choice; examples: what demonstrations are drawn from, a file or records; data: the
    questions, where the command names none; separator: between description, demonstrations and question.

    draw: demonstrations anew for each question, or the same for all of a seed; balance: a field whose values are to
    come equally often among them; within: a field in which they equal the question; repeats: whether one may read like
    the question. scoring: rules by which answers are compared, the first is the one that is predicted by; domain: text
    before and after the answer for pmi, the template's own if absent; empty: what stands for every field for
    calibrated; order: in which several masks are filled; decoder: what an encoder-decoder writes: the answer alone
    ("text"), what belongs where a sentinel stands ("span"), or the whole text around a mask ("whole"); by the model if
    absent.
    """

    fewshot: str
    description: str = ""
    templates: str | tuple[str, ...]
    labels: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    choices: str | None = None
    answer: str = "label"
    examples: Path | tuple[dict[str, Any], ...] = ()
    data: Path | None = None
    separator: str = "\n\n"
    draw: Draw = "question"
    balance: str | None = None
    within: str | None = None
    repeats: bool = False
    scoring: tuple[Scoring, ...] = Field(default=SCORINGS, min_length=1)
    domain: tuple[str, str] | None = None
    empty: tuple[str, ...] = Field(default=("N/A", "", "[MASK]"), min_length=1)
    order: Order = "most_certain"
    decoder: Writes | None = None

    @model_validator(mode="before")
    @classmethod
    def _names_are_text(cls, values: Any) -> Any:
        """YAML reads the labels 0 and true as a number and a truth value."""
        if isinstance(values, Mapping) and isinstance(values.get("labels"), Mapping):
            labels = {str(name): words for name, words in values["labels"].items()}
            if len(labels) < len(values["labels"]):
                names = [str(name) for name in values["labels"]]
                raise ValueError(f"labels: {next(n for n in names if names.count(n) > 1)!r} once")
            values = {**values, "labels": labels}
        return values

    @model_validator(mode="after")
    def _one_kind_of_answers(self) -> TaskFile:
        if bool(self.labels) == (self.choices is not None):
            raise ValueError("labels, or choices, one of the two")
        if self.labels and len(self.labels) < 2:
            raise ValueError("two labels or more")
        if not self.templates:
            raise ValueError("one template or more")
        return self

    def task(self) -> Fewshot:
        """What is put to a model. Raises InputError."""
        given = (self.templates,) if isinstance(self.templates, str) else self.templates
        return Fewshot(
            name=self.fewshot,
            templates=tuple(Template.parse(text) for text in given),
            labels={n: (words,) if isinstance(words, str) else words for n, words in self.labels.items()},
            choices=self.choices,
            answer=self.answer,
            description=self.description,
            separator=self.separator,
            draw=self.draw,
            balance=self.balance,
            within=self.within,
            repeats=self.repeats,
            domain=self.domain,
            empty=self.empty,
            order=self.order,
            decoder=self.decoder,
        )


def fewshot_file(
    name: str,
    path: Path,
    shots: Sequence[int],
    seeds: Sequence[int],
    data: Path | None = None,
    out: Path | None = None,
    limit: int | None = None,
    at: Place = AUTO,
) -> list[Found]:
    """Put the task of a file to a model; OUT/predictions.jsonl, result.json, accuracy.png; a table on the console.

    limit: the first so many questions. Raises InputError.
    """
    if out is not None:
        make_folder(out)
    asking, trials = ask_file(name, path, shots, seeds, data, limit, at=at)
    result = as_json(name, asking, trials)
    if out is not None:
        write(out, asking, trials, result)
    found = summary(asking, trials)
    show(found, result)
    return found


def ask_file(
    name: str,
    path: Path,
    shots: Sequence[int],
    seeds: Sequence[int],
    data: Path | None = None,
    limit: int | None = None,
    keep: Callable[[str], bool] = lambda _id: True,
    at: Place = AUTO,
) -> tuple[Asking, list[Trial]]:
    """Every trial of the task of a file. keep: which questions are asked, by their ids. Raises InputError."""
    chosen: TaskFile = runfile.read(path, TaskFile)
    task = chosen.task()
    where = data or (None if chosen.data is None else path.parent / chosen.data)
    if where is None:
        raise InputError("no questions", file=path, expected="data: in the file, or --data")
    questions = [case for case in _cases(task, where) if keep(case.id)][:limit]
    examples = path.parent / chosen.examples if isinstance(chosen.examples, Path) else chosen.examples
    pool = _cases(task, examples) if examples else []
    model = at.open(name)
    asking = Asking(task, reader_of(model, task), questions, Pool(task, pool), chosen.scoring)
    trials = []
    for trial in asking.trials(shots, seeds):
        trials.append(trial)
        right = [c == case.gold for c, case in zip(trial.chosen(chosen.scoring[0]), questions, strict=True)]
        told = f"{trial.shots} shots · seed {trial.seed} · template {trial.template}"
        say(f"{task.name} · {told} · {sum(right) / len(right):.4f}")
    return asking, trials


def _cases(task: Fewshot, source: Path | Sequence[Mapping[str, Any]]) -> list[Case]:
    from didact.data.records import records  # brings in datasets

    if isinstance(source, Path):
        found = ((record.row, record.fields) for record in records(source))
        return cases(task, found, str(source.expanduser().resolve()))
    return cases(task, ((i, own) for i, own in enumerate(source, 1)), None)


def as_json(name: str, asking: Asking, trials: Sequence[Trial]) -> dict[str, Any]:
    """What is kept of it all."""
    counts = {
        "demonstrations dropped": sum(prompt.dropped for trial in trials for prompt in trial.prompts),
        "prompts with demonstrations dropped": sum(p.dropped > 0 for trial in trials for p in trial.prompts),
        "prompts cut": sum(cut > 0 for trial in trials for cut in trial.cut),
    }
    return {
        "model": name,
        "task": asking.task.name,
        "questions": len(asking.questions),
        "floors": floors(asking.questions),
        "counts": counts,
        "results": [
            {
                "shots": f.shots,
                "scoring": f.rule,
                "accuracy": f.accuracy.to_json(),
                "each": list(f.each),
                "calibration_error": f.error,
            }
            for f in summary(asking, trials)
        ],
    }


def write(out: Path, asking: Asking, trials: Sequence[Trial], result: Mapping[str, Any]) -> None:
    """OUT/predictions.jsonl, result.json, accuracy.png."""
    from didact.evaluation.fewshot.plot import plot

    out.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for trial in trials for row in predictions(asking, trial))
    write_aside(out / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    write_aside(out / "result.json", json.dumps(spoken(result), indent=2, ensure_ascii=False) + "\n")
    (out / "accuracy.png").write_bytes(plot(result))


def predictions(asking: Asking, trial: Trial) -> list[dict[str, Any]]:
    """One a question: what was predicted by the first rule, and every rule's scores."""
    main = asking.rules[0]
    return [
        {
            "id": case.id,
            "shots": trial.shots,
            "seed": trial.seed,
            "template": trial.template,
            "label": case.names[trial.chosen(main)[i]],
            "gold": case.names[case.gold],
            "scores": {rule: dict(zip(case.names, own[i].tolist(), strict=True)) for rule, own in trial.scores.items()},
            "demonstrations": [asking.pool.cases[d].id for d in trial.drawn[i]][trial.prompts[i].dropped :],
            "dropped": trial.prompts[i].dropped,
            "cut": trial.cut[i],
        }
        for i, case in enumerate(asking.questions)
    ]


def show(found: Sequence[Found], result: Mapping[str, Any]) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("shots", "scoring", "accuracy", "trials", "calibration error", title=str(result["task"]))
    for f in found:
        table.add_row(str(f.shots), f.rule, str(f.accuracy), str(len(f.each)), f"{f.error:.4f}")
    for name, value in result["floors"].items():
        table.add_row("", name, f"{value:.4f}", "", "")
    console = Console(highlight=False)
    console.print(table)
    for what, count in result["counts"].items():
        if count:
            console.print(f"{count:,} {what}", markup=False)
