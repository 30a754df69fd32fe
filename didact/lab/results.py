"""What a grid's cells left behind, as one table: a figure per arm, seed, stage and metric; and the answers that each
run gave to its test file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from didact.errors import InputError
from didact.lab.cells import PRETRAIN, Cell
from didact.lab.sheets import Answers, answers_in
from didact.runs.common import finished
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.tasks.base import Prediction


@dataclass(frozen=True)
class Score:
    """One number. stage: "pretrain" or a task's name; split: "validation" (pre-training), "dev" or "test"."""

    arm: str
    seed: int
    stage: str
    split: str
    metric: str
    value: float


@dataclass(frozen=True)
class Spent:
    """What a cell took. flops: measured, of training; tokens: real ones (pre-training only); rate: chosen peak."""

    arm: str
    seed: int
    stage: str
    steps: int
    seconds: float
    flops: float
    tokens: int
    rate: float


@dataclass(frozen=True)
class Results:
    """runs: the fine-tuning run of each arm and task; answers: what each of its seeds answered to the test file;
    discarded: what the learning rates took that were tried and not chosen.
    """

    scores: tuple[Score, ...]
    spent: tuple[Spent, ...] = ()
    runs: Mapping[tuple[str, str], FinetuneRun] = field(default_factory=dict)
    answers: Mapping[tuple[str, str], Answers] = field(default_factory=dict)
    discarded: tuple[Spent, ...] = ()

    def of(self, arm: str, stage: str, split: str, metric: str) -> dict[int, float]:
        """seed -> value."""
        wanted = (arm, stage, split, metric)
        return {s.seed: s.value for s in self.scores if (s.arm, s.stage, s.split, s.metric) == wanted}

    def metrics(self) -> tuple[tuple[str, str, str], ...]:
        """(stage, split, metric) of everything that is compared: of validation each part's figures (not their sum,
        which is of other parts in every arm, nor bits a token, which are nats a token); test if there is one, else dev.
        """
        tested = {s.stage for s in self.scores if s.split == "test"}
        kept = [
            s
            for s in self.scores
            if not (s.split == "dev" and s.stage in tested)
            and not (s.stage == PRETRAIN and (s.metric == "loss" or s.metric.endswith("/bits_per_token")))
        ]
        return tuple(dict.fromkeys((s.stage, s.split, s.metric) for s in kept))


def collect(cells: Iterable[Cell], discarded: Iterable[Cell] = ()) -> Results:
    """Read the results of finished cells; of the discarded ones what they took. InputError where a result is not what
    a run writes.
    """
    scores: list[Score] = []
    spent: list[Spent] = []
    left: list[Spent] = []
    runs: dict[tuple[str, str], FinetuneRun] = {}
    answers: dict[tuple[str, str], dict[int, list[Prediction]]] = {}
    for cell in discarded:
        with _named(cell.folder / "result.json"):
            if (result := cell.result()) is not None and isinstance(cell.run, PretrainRun):
                left.append(_spent(cell, result, cell.run.optimizer.learning_rate))
    for cell in cells:
        result = cell.result()
        if result is None:
            continue
        with _named(cell.folder / "result.json"):
            if not isinstance(cell.run, FinetuneRun):
                scores += [_score(cell, "validation", k, v) for k, v in cell.validated().items()]
                spent.append(_spent(cell, result, cell.run.optimizer.learning_rate))
                continue
            of_seed = result["seeds"][str(cell.seed)]
            for split in ("dev", "test"):
                scores += [_score(cell, split, k, v) for k, v in (of_seed.get(split) or {}).items()]
            spent.append(_spent(cell, of_seed, of_seed["learning_rate"]))
            left += _other_rates(cell, of_seed["learning_rate"])
        runs.setdefault((cell.arm, cell.stage), cell.run)
        if answers_of(cell).is_file():
            answers.setdefault((cell.arm, cell.stage), {})[cell.seed] = answers_in(answers_of(cell))
    return Results(tuple(scores), tuple(spent), runs, answers, tuple(left))


def answers_of(cell: Cell) -> Path:
    """Where a fine-tuning's answers to its test file lie, if it has one."""
    return cell.folder / f"seed-{cell.seed}" / "predictions-test.jsonl"


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """What a result lacks, as an InputError of its file."""
    try:
        yield
    except (KeyError, TypeError) as problem:
        raise InputError(f"not a run's result: {problem!r}", file=file) from None


def _other_rates(cell: Cell, chosen: float) -> list[Spent]:
    """What a fine-tuning tried besides the rate that it took: each has a folder of its own."""
    assert isinstance(cell.run, FinetuneRun)
    found = []
    for rate in cell.run.learning_rates:
        folder = cell.folder / f"seed-{cell.seed}" / f"rate-{rate:g}"
        if rate != chosen and (result := finished(folder)) is not None and "failed" not in result:
            with _named(folder / "result.json"):
                found.append(_spent(cell, result, rate))
    return found


def _score(cell: Cell, split: str, metric: str, value: Any) -> Score:
    return Score(cell.arm, cell.seed, cell.stage, split, metric, float(value))


def _spent(cell: Cell, result: Mapping[str, Any], rate: float) -> Spent:
    return Spent(
        cell.arm,
        cell.seed,
        cell.stage,
        int(result["steps"]),
        float(result["seconds"]),
        float(result["flops"]),
        int(result["tokens"]) if cell.stage == PRETRAIN else 0,
        float(rate),
    )
