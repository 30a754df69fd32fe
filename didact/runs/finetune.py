"""`didact finetune`: a start (or fresh weights), a task and labelled files -> a run a seed, scores on dev and test.

RUN/seed-N holds the run of each seed, RUN/best the model of the one best on dev. With several learning rates the
first seed runs them all, dev chooses, and the other seeds take the chosen one; one that diverges is not chosen.
RUN/result.json says what came of it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from torch import nn

from didact.batch import Batch, Example, Labels
from didact.data.store import write_aside
from didact.data.stream import Stream
from didact.errors import InputError, NotANumber
from didact.model import Pretrained
from didact.randomness import key
from didact.runs import common
from didact.runs.begin import Begin
from didact.runs.build import batch_of, learned, task_of
from didact.runs.corpus import say
from didact.runs.models import check_streams, check_template
from didact.runs.place import Place
from didact.runs.runfile import load_plugins, read
from didact.runs.schema import FinetuneRun, Hardware
from didact.runs.write import checked
from didact.tasks import Task
from didact.tasks.answering import answer, forced
from didact.tasks.base import Counts, Dataset, Prediction
from didact.training import policy
from didact.training.checkpoint import RunFolder, point
from didact.training.loop import fit
from didact.training.schedule import Budget
from didact.training.step import Step

SPLITS = ("dev", "test")


def finetune_file(path: Path, changes: Sequence[str] = ()) -> Path:
    """Carry out the run file at `path`."""
    return finetune(read(path, FinetuneRun, changes))


def finetune(run: FinetuneRun) -> Path:
    """Train every seed, or go on, or find the run finished. Returns RUN."""
    load_plugins(run.plugins)
    common.begin(run, run.inputs)
    if (before := common.finished(run.run)) is not None:
        say(f"{run.run} is finished; another folder (run=…) starts another run")
        _report(run, before)
        return run.run
    common.set_threads(run.hardware.threads)
    begin = Begin.of(run)
    files = Files.read(run, begin)
    for split, dataset in files.all.items():
        for what, count in dataset.counts.items():
            say(f"{split}: {count:,} {what}")
    seeds = run.seeds or (run.seed,)
    rates = list(run.learning_rates) or [run.optimizer.learning_rate]
    if len(rates) > 1 and files.dev is None:
        raise InputError("learning_rates: several, and no data.dev to choose by", expected="data.dev, or one rate")
    if run.patience is not None and files.dev is None:
        raise InputError(f"patience: found {run.patience}, and no data.dev to look at", expected="data.dev, or none")
    results: dict[str, Any] = {}
    tried: dict[str, float] = {}
    rate = rates[0]
    for number, seed in enumerate(seeds):
        folder = run.run / f"seed-{seed}"
        if number == 0 and len(rates) > 1:
            cells = _trials(run, begin, files, seed, rates, folder)
            tried = {f"{r:g}": cells[r]["dev"][files.task.main] for r in rates}
            sign = 1.0 if files.task.higher else -1.0
            ended = [r for r in rates if "failed" not in cells[r]]
            rate = max(ended, key=lambda r: _worst_if_none(sign * tried[f"{r:g}"]))
            results[str(seed)] = cells[rate]
            _take(folder, f"rate-{rate:g}")
        else:
            results[str(seed)] = _one(run, begin, files, seed, rate, folder)
    summary = {
        "task": files.task.kind,
        "main": files.task.main,
        "start": None if begin.scratch else begin.name,
        "learning_rate": rate,
        "learning_rates": tried,
        "seeds": results,
        "counts": {split: dict(d.counts) for split, d in files.all.items()},
        "items": {split: len(d.items) for split, d in files.all.items()},
    }
    summary["best_seed"] = _best_seed(files.task, results)
    if common.first():
        seed = Path(f"seed-{summary['best_seed']}")
        found = "best" if (run.run / seed / "best").exists() else "last"  # nothing on dev said which is the best
        point(run.run / "best", seed / found)
    common.finish(run.run, summary)
    _report(run, summary)
    return run.run


def _best_seed(task: Task, results: Mapping[str, Any]) -> str:
    """The seed whose model is used when the run is named: the best on dev; the first where there is no dev."""
    sign = 1.0 if task.higher else -1.0
    return max(results, key=lambda seed: _worst_if_none(sign * results[seed].get("dev", {}).get(task.main, 0.0)))


@dataclass(frozen=True)
class Files:
    """The labelled files as the task reads them, once for all seeds."""

    task: Task
    train: Dataset
    dev: Dataset | None
    test: Dataset | None

    @staticmethod
    def read(run: FinetuneRun, begin: Begin) -> Files:
        """Read all files before anything is trained: a mistake in the last row of the test file stops it now."""
        tokenizer = begin.tokenizer
        task = task_of(run.task, run.length).suited(begin.config, tokenizer, begin.family.encoder)
        counts: Counts = Counter()
        items = [item for path in run.data.training for item in task.items(path, limit=run.data.limit, counts=counts)]
        task = learned(task, items)
        held = {name: path for name in SPLITS if (path := getattr(run.data, name)) is not None}
        sets = {name: task.read(path, tokenizer, limit=run.data.limit) for name, path in held.items()}
        for dataset in sets.values():
            task.gold(dataset.items)
        train = task.dataset(items, tokenizer)
        train = replace(train, counts=Counter(train.counts) + counts)
        return Files(task, train, sets.get("dev"), sets.get("test"))

    @property
    def all(self) -> dict[str, Dataset]:
        return {name: d for name in ("train", *SPLITS) if (d := getattr(self, name)) is not None}


class Answers(nn.Module):
    """A step seen as the model it trains: logits for each of the batch's labels (FSDP lets only the step be called)."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        return self.step(batch, logits=True)


def _trials(
    run: FinetuneRun, begin: Begin, files: Files, seed: int, rates: Sequence[float], folder: Path
) -> dict[float, dict[str, Any]]:
    """One seed at every learning rate. One that diverges has no score. Raises NotANumber where all of them do."""
    cells: dict[float, dict[str, Any]] = {}
    failed: dict[float, NotANumber] = {}
    for rate in rates:
        try:
            cells[rate] = _one(run, begin, files, seed, rate, folder / f"rate-{rate:g}")
        except NotANumber as problem:
            say(f"learning rate {rate:g}: {problem}")
            failed[rate] = problem
    if len(failed) == len(rates):
        raise failed[rates[0]]
    # Written down only now: where all fail, another start, with other hardware maybe, tries them again.
    for rate, problem in failed.items():
        cells[rate] = {"learning_rate": rate, "dev": {files.task.main: math.nan}, "failed": str(problem)}
        common.finish(folder / f"rate-{rate:g}", cells[rate])
    return cells


def _one(run: FinetuneRun, begin: Begin, files: Files, seed: int, rate: float, folder: Path) -> dict[str, Any]:
    """One seed at one learning rate."""
    if (before := common.finished(folder)) is not None:
        return before
    task, objective = files.task, files.task.objective()
    generator = torch.Generator().manual_seed(key(seed, 2) % 2**63)
    start = begin.load(task.heads(), generator)
    step = Step({"main": start.model}, objective)
    common.check_freeze(run, step)
    _fits(start, run, task, files.train.examples)
    if task.written:
        _rehearse(replace(start, task=task), files)
    state = _State(replace(start, task=task))
    stream = Stream(
        files.train,
        objective,
        batch_of(run.batch),
        max(run.batch.micro_tokens, *(objective.most(task.size(e), _several(e)) for e in files.train.examples)),
        seed=seed,
        max_seqlen=task.largest,
    )
    budget = budget_of(run, len(files.train))
    own = run.model_copy(update={"optimizer": run.optimizer.model_copy(update={"learning_rate": rate})})
    every = run.evaluate_every or (None if budget.steps is None else max(1, math.ceil(budget.steps / 3)))
    dev = files.dev

    def evaluate(step: Step) -> Mapping[str, float]:
        assert dev is not None
        if task.written:
            return forced(Answers(step), task, dev, run.batch.micro_tokens)
        answers = answer(Answers(step), task, dev, run.batch.micro_tokens)
        tuned = task.tune(dev, answers)
        state.now = replace(state.now, task=tuned)
        return tuned.score(tuned.decode(dev, answers), dev.items)

    result = fit(
        step,
        stream,
        common.settings_of(
            own,
            budget,
            seed,
            evaluate_every=every if dev is not None else None,
            save_every=run.checkpoints.every,
            best=task.watched[0] if dev is not None else "",
            highest=task.watched[1],
            patience=run.patience,
        ),
        RunFolder(folder),
        evaluate if dev is not None else None,
        common.exporter(lambda: state.now),
    )
    final = Place(run.hardware.device).open(str(folder))
    precision = _as_trained(final, run.hardware)
    scores = {name: _score(final, d, folder, name, run, precision) for name, d in files.all.items() if name in SPLITS}
    found = {
        "learning_rate": rate,
        **scores,
        "steps": result.steps,
        "best_step": result.best_step,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "flops": result.flops,
    }
    common.finish(folder, found)
    return found


@dataclass
class _State:
    """The model as it would be exported now: its task knows what validation has found (a threshold)."""

    now: Pretrained


def _as_trained(model: Pretrained, hardware: Hardware) -> torch.dtype | None:
    """The precision that validation was computed in: the checkpoint that is best on dev then has the score it was
    chosen by. None = as the weights are, also for a model that lies elsewhere than it was trained.
    """
    plan = policy.plan(hardware.device, hardware.precision)
    here = plan.device.type == next(model.model.parameters()).device.type
    return plan.dtype if here and plan.precision != "fp32" else None


def _score(
    model: Pretrained, dataset: Dataset, folder: Path, name: str, run: FinetuneRun, precision: torch.dtype | None
) -> dict[str, float]:
    """Scores of the chosen checkpoint on a split; its predictions go into a file, with what each brings to the main
    score ("units"). precision: of autocast; texts are written in the weights' own.
    """
    assert model.task is not None
    write = model.write(model.task) if model.task.written else None
    own = None if write is not None else precision
    answers = answer(model.model, model.task, dataset, run.batch.micro_tokens, precision=own, write=write)
    predictions: list[Prediction] = model.task.decode(dataset, answers)
    metric = model.task.metrics()[0]
    units = metric.units(model.task.predicted(predictions, dataset.items), model.task.gold(dataset.items)).tolist()
    lines = (
        json.dumps({**p, "units": u[0] if len(u) == 1 else u}, ensure_ascii=False)
        for p, u in zip(predictions, units, strict=True)
    )
    if common.first():
        write_aside(folder / f"predictions-{name}.jsonl", "\n".join(lines) + "\n")
    scores = model.task.score(predictions, dataset.items)
    if model.task.written:
        step = Step({"main": model.model}, model.task.objective())
        scores |= forced(Answers(step), model.task, dataset, run.batch.micro_tokens, precision=precision)
    return scores


def _rehearse(start: Pretrained, files: Files) -> None:
    """Write one answer and score it, so that settings that cannot be are refused before anything is trained."""
    task = files.task
    checked(task.writing, f"task.{task.kind}.decoding")
    for dataset in (files.dev, files.test):
        if dataset is None or not dataset.items:
            continue
        shortest = min(dataset.items, key=lambda item: len(str(item.fields)))
        able = common.able_to_write(start)
        few = task.dataset([shortest], start.tokenizer)
        answers = answer(able.model, task, few, write=able.write(task))
        task.score(task.decode(few, answers), few.items)


def _asks_beginnings(asked: Labels, example: Example) -> bool:
    """Whether the rows that are asked each begin a text of several tokens."""
    parts = np.zeros(0, np.int64) if example.parts is None else example.parts
    begins = np.unique(np.append(0, parts))
    longer = np.diff(begins, append=len(example)) > 1
    return len(asked.rows) > 0 and bool(np.isin(asked.rows, begins[longer]).all())


def _several(example: Example) -> bool:
    """Whether an example has more parts than one."""
    return example.parts is not None and len(example.parts) > 1


def _fits(start: Pretrained, run: FinetuneRun, task: Task, examples: Sequence[Example]) -> None:
    pooled = {name for name, head in task.heads().items() if head.pooled}
    if start.model.config.visibility == "causal" and examples:
        longest = max(examples, key=len)
        asked = task.ask(longest)
        if asked.head in pooled and _asks_beginnings(asked, longest):
            raise InputError(
                f"task.{task.kind}: asks the first token of a text, and a causal model has seen nothing else there",
                expected="pooling: last or mean, or a tokenizer that puts no token first",
            )
    common.check_groups(run.batch, task.objective())
    config = start.model.config
    check_template(config, start.tokenizer)
    if task.objective().ranked:  # what a head asks of a stream it says itself
        check_streams(config, task.objective(), f"task.{task.kind}")
    if task.objective().dropout and not (config.dropout or config.attention_dropout or all(map(_several, examples))):
        raise InputError(
            "model.dropout: found 0, and two readings of one text differ by dropout alone",
            expected="model.dropout above 0, or pairs of texts",
        )
    if start.maximum is not None and run.length > start.maximum:
        raise InputError(f"length: found {run.length}", expected=f"at most {start.maximum}, the model's positions")


def budget_of(run: FinetuneRun, examples: int) -> Budget:
    """The run's budget over so many sequences to learn from, passes over them as steps. Raises InputError where a pass
    has no known number of steps.
    """
    b = run.budget
    if b.epochs is None:
        return Budget(b.steps, b.tokens, b.minutes)
    amount, unit = run.batch.size
    if unit == "tokens":
        raise InputError("budget.epochs: with a batch in tokens", expected="budget.steps or budget.tokens")
    return Budget(steps=max(1, round(b.epochs * examples / amount)))


def _worst_if_none(value: float) -> float:
    """What is not a number, or infinite, is the worst: a result file says null for both."""
    return value if math.isfinite(value) else -math.inf


def _take(folder: Path, cell: str) -> None:
    """RUN/seed-N/best and last are those of the chosen learning rate; its predictions lie there too."""
    if not common.first():
        return
    for name in ("best", "last"):
        if (folder / cell / name).exists():
            point(folder / name, Path(cell) / name)
    for split in SPLITS:
        found = folder / cell / f"predictions-{split}.jsonl"
        if found.is_file():
            write_aside(folder / found.name, found.read_text(encoding="utf-8"))


def _report(run: FinetuneRun, summary: Mapping[str, Any]) -> None:
    """One line a split: the mean over seeds, their spread."""
    for split in SPLITS:
        values = [cell[split] for cell in summary["seeds"].values() if split in cell]
        if not values:
            continue
        parts = []
        for name in values[0]:
            own = [v[name] for v in values]
            spread = f" ± {stdev(own) if all(map(math.isfinite, own)) else math.nan:.4f}" if len(own) > 1 else ""
            parts.append(f"{name} {fmean(own):.4f}{spread}")
        say(f"{run.run} · {split} · {len(values)} seed{'s' * (len(values) > 1)} · " + " · ".join(parts))
