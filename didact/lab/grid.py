"""A grid: arms × seeds at an equal budget, as a YAML file checked like a run file (unknown keys are errors).

An arm is a named set of changes to one base pre-training run and to the base fine-tunings that follow it; everything
else is shared, so that what differs between two arms is what the file says. `resolve` turns it into run files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from didact.errors import InputError
from didact.runs import runfile
from didact.runs.schema import Budget, FinetuneRun, LearningRates, Part, PretrainRun

Base = Path | dict[str, Any]


class Arm(Part):
    """One thing compared. Keys are paths of run-file keys, values replace what stands there, whole
    (`objective: {masked: {rate: 0.4}}` or `objective.masked.rate: 0.4`).

    pretrain: changes to the base pre-training run; false: no pre-training, the fine-tunings start from fresh weights
    of the same architecture and tokenizer (the honest baseline). finetune: changes to every fine-tuning run.
    learning_rates: tried while pre-training it, in place of the grid's; one is taken untried.
    """

    pretrain: dict[str, Any] | Literal[False] = Field(default_factory=dict)
    finetune: dict[str, Any] = Field(default_factory=dict)
    learning_rates: LearningRates = ()


class Rates(Part):
    """Peak learning rates tried for each arm; empty: the base run's own. Chosen on dev, never on test.

    pretrain: tried with the first seed; by: the validation figure that chooses among them; smallest: whether its
    smallest value is the best, null = by its name: of losses, bits and errors the smallest, of all else (accuracy, f1)
    the largest; share: of the budget that a trial takes, 1 = all of it, and the best trial is then the first seed's
    run; finetune: tried inside every fine-tuning run, chosen by its own main metric on dev.
    """

    pretrain: LearningRates = ()
    finetune: LearningRates = ()
    by: str = ""
    smallest: bool | None = None
    share: float = Field(default=1.0, gt=0, le=1)


class Equal(Part):
    """What all arms get the same amount of while pre-training.

    equal: of what: optimizer steps, real tokens, or measured FLOPs, where the reference arm takes `steps` and every
    other arm the number of steps that come to the same; steps: each, or the reference's; tokens: each.
    """

    equal: Literal["steps", "tokens", "flops"]
    steps: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _amount(self) -> Equal:
        amount, other = ("tokens", "steps") if self.equal == "tokens" else ("steps", "tokens")
        if getattr(self, amount) is None or getattr(self, other) is not None:
            raise ValueError(f"equal: {self.equal} with `{amount}` and without `{other}`")
        return self


class Paper(Part):
    """What a paper found, to stand beside. source: paper and table; measure: what of; arms: its figures, by the names
    of ours; beside: the figure of ours that is nearest to it, STAGE/METRIC ("text/accuracy", "pretrain/mlm@15/loss").
    """

    source: str
    measure: str
    arms: dict[str, float] = Field(min_length=1)
    beside: str = ""


class Grid(Part):
    """`didact lab GRID.yaml`.

    grid: its name; question: what it is to answer, one line for the report; pretrain: the base pre-training run, a file
    (beside the grid) or its content, or none; finetune: the base fine-tuning runs by task name; `run`, `start` and
    `seed` of both are filled in; arms: what is compared, by name; reference: the arm the others are compared with, the
    first unless named; seeds: one whole chain of runs each; budget: what all arms get the same amount of;
    pretrain_once: whether only the first seed pre-trains, and all fine-tune what came of it: intervals are then of
    fine-tuning and test examples, and know nothing of pre-training's seed; floors: task -> metric -> what a trivial
    method reaches on the test file; papers: published figures for the report.
    """

    grid: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    question: str = ""
    pretrain: Base | None = None
    finetune: dict[str, Base] = Field(default_factory=dict)
    arms: dict[str, Arm] = Field(min_length=1)
    reference: str = ""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    pretrain_once: bool = False
    learning_rates: Rates = Rates()
    budget: Equal | None = None
    floors: dict[str, dict[str, float]] = Field(default_factory=dict)
    papers: tuple[Paper, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Grid:
        if self.pretrain is None and not self.finetune:
            raise ValueError("something to run: `pretrain`, `finetune` or both")
        if self.reference and self.reference not in self.arms:
            raise ValueError(f"reference: one of the arms, {', '.join(self.arms)}; found {self.reference!r}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds that differ; found {self.seeds}")
        untrained = [name for name, arm in self.arms.items() if arm.pretrain is False]
        if self.learning_rates.pretrain and self.pretrain is None:
            raise ValueError("`pretrain` with `learning_rates.pretrain`: they are tried while pre-training")
        if idle := [name for name, arm in self.arms.items() if arm.learning_rates and not pretrained(self, name)]:
            raise ValueError(f"arms.{idle[0]}.learning_rates only where it is pre-trained")
        if not self.learning_rates.by and any(len(self.rates(name)) > 1 for name in self.arms):
            raise ValueError("`learning_rates.by`, the validation figure that chooses among the pre-training rates")
        if untrained and not self.finetune:
            raise ValueError(f"`finetune` runs for the arms that are not pre-trained ({', '.join(untrained)})")
        if self.pretrain is not None and len(untrained) == len(self.arms):
            raise ValueError("at least one arm that is pre-trained, or no `pretrain`")
        if self.pretrain_once and self.pretrain is None:
            raise ValueError("`pretrain` with `pretrain_once`")
        if self.budget is not None and self.pretrain is None:
            raise ValueError("`pretrain` with `budget`: it is the budget of pre-training")
        if self.budget is not None and self.budget.equal == "flops" and self.arms[self.first].pretrain is False:
            raise ValueError(f"a reference arm that is pre-trained: its FLOPs are the budget ({self.first} is not)")
        for name in (*self.arms, *self.finetune):
            if name in ("", ".", "..", "pretrain", "rates") or "/" in name or "\\" in name:
                raise ValueError(f"names that can be folders; found {name!r}")
        unknown = sorted(set(self.floors) - set(self.finetune))
        if unknown:
            raise ValueError(f"floors of the tasks {', '.join(self.finetune)}; found {', '.join(unknown)}")
        if strangers := sorted({arm for paper in self.papers for arm in paper.arms} - set(self.arms)):
            raise ValueError(f"papers of the arms {', '.join(self.arms)}; found {', '.join(strangers)}")
        return self

    @property
    def pretraining_seeds(self) -> tuple[int, ...]:
        """The seeds that an arm is pre-trained with."""
        return self.seeds[:1] if self.pretrain_once else self.seeds

    def rates(self, arm: str) -> tuple[float, ...]:
        """The learning rates tried while pre-training an arm; none: its run's own."""
        return self.arms[arm].learning_rates or self.learning_rates.pretrain

    @property
    def first(self) -> str:
        """The arm that the others are compared with."""
        return self.reference or next(iter(self.arms))


def read(path: Path) -> Grid:
    """The grid file at `path`, its base runs read in: every arm of it is a valid run, or an InputError says which is
    not and why."""
    grid = runfile.read(path, Grid)
    loaded = grid.model_copy(
        update={
            "pretrain": None if grid.pretrain is None else _content(grid.pretrain, path),
            "finetune": {name: _content(base, path) for name, base in grid.finetune.items()},
        }
    )
    _check_changes(loaded, path)
    for arm in loaded.arms:
        if pretrained(loaded, arm):
            _check_whole(loaded, arm, pretrain_run(loaded, arm, loaded.seeds[0], Path("run"), file=path), path)
    for task in loaded.finetune:
        runs = {
            arm: finetune_run(loaded, arm, task, loaded.seeds[0], Path("run"), "start", file=path)
            for arm in loaded.arms
        }
        tested = [arm for arm, run in runs.items() if run.data.test is not None]
        if untested := [arm for arm in runs if tested and arm not in tested]:
            raise InputError(
                f"arms.{untested[0]}: {task} has no test file, that of {tested[0]} has one",
                file=path,
                expected="data.test for every arm, or for none",
            )
    return loaded


def _check_changes(grid: Grid, file: Path) -> None:
    """Raise InputError where an arm changes what the grid decides: it would be the grid's all the same."""
    seeds = "its `seeds`"
    of_pretrain = {"run": "--out", "seed": seeds}
    rate = "optimizer.learning_rate"
    of_finetune = {"run": "--out", "seed": seeds, "seeds": seeds}
    if grid.budget is not None:
        of_pretrain["budget"] = "its `budget`"
    if grid.pretrain is not None:
        of_finetune["start"] = "what the arm's pre-training leaves behind"
    if grid.learning_rates.finetune:
        of_finetune |= dict.fromkeys(("learning_rates", rate), "its `learning_rates.finetune`")
    for name, arm in grid.arms.items():
        tried = {rate: "its `learning_rates.pretrain`, or the arm's `learning_rates`"} if grid.rates(name) else {}
        for section, changes, decided in (
            ("pretrain", arm.pretrain or {}, of_pretrain | tried),
            ("finetune", arm.finetune, of_finetune),
        ):
            for key, by in decided.items():
                if _names(changes, key):
                    raise InputError(
                        f"arms.{name}.{section}.{key}: the grid decides this, by {by}",
                        file=file,
                        expected="an arm that says nothing of it",
                    )


def _check_whole(grid: Grid, arm: str, run: PretrainRun, file: Path) -> None:
    """Raise InputError where an arm's run would be left before its end: a cell that has no result has failed."""
    if run.until is not None:
        where = f"arms.{arm}.pretrain" if _names(grid.arms[arm].pretrain or {}, "until") else "pretrain"
        raise InputError(
            f"{where}.until: a run left after step {run.until} has no result for the grid to read",
            file=file,
            expected="none, and a `budget` for shorter runs",
        )


def _names(changes: Mapping[str, Any], key: str) -> bool:
    """Whether changes say something of a key: by its path, by one inside it, or in a section that is given whole."""
    for path, value in changes.items():
        if path == key or path.startswith(key + "."):
            return True
        inside = key.removeprefix(path + ".")
        if inside != key and isinstance(value, Mapping) and _names(value, inside):
            return True
    return False


def pretrained(grid: Grid, arm: str) -> bool:
    """Whether this arm's weights come from a pre-training run of the grid."""
    return grid.pretrain is not None and grid.arms[arm].pretrain is not False


def pretrain_run(
    grid: Grid,
    arm: str,
    seed: int,
    folder: Path,
    rate: float | None = None,
    steps: int | None = None,
    file: Path | None = None,
    share: float = 1.0,
) -> PretrainRun:
    """The pre-training run of an arm: base, then the arm's changes, then what the grid itself decides.

    rate: a peak learning rate in place of the run's own; steps: in place of the budget's (equal FLOPs); share: of the
    budget.
    """
    changes = grid.arms[arm].pretrain or {}
    values = changed(grid.pretrain, changes, f"arms.{arm}.pretrain", file)
    values |= {"run": str(folder), "seed": seed}
    if rate is not None:
        values = changed(values, {"optimizer.learning_rate": rate}, "learning_rates", file)
    if steps is not None:
        values["budget"] = {"steps": steps}
    elif grid.budget is not None:
        unit = "tokens" if grid.budget.equal == "tokens" else "steps"
        values["budget"] = {unit: getattr(grid.budget, unit)}
    run = runfile.checked(PretrainRun, values, file, f"arms.{arm}.pretrain")
    return run if share == 1.0 else run.model_copy(update={"budget": _part_of(run.budget, share)})


def _part_of(budget: Budget, share: float) -> Budget:
    """A share of a budget; steps and tokens stay whole numbers."""
    given = {unit: amount for unit, amount in budget.model_dump().items() if amount is not None}
    return Budget(**{k: max(1, round(share * n)) if k in ("steps", "tokens") else share * n for k, n in given.items()})


def finetune_run(
    grid: Grid, arm: str, task: str, seed: int, folder: Path, start: str | None = None, file: Path | None = None
) -> FinetuneRun:
    """The fine-tuning of one task from `start`; None: from the run's own start. One seed: the grid's seeds are whole
    chains. An arm without pre-training in a grid that has one starts from fresh weights (`start` gives the shape).
    """
    values = changed(grid.finetune[task], {}, f"finetune.{task}", file)
    if start is not None and grid.pretrain is not None:
        values["start"] = start
        if not pretrained(grid, arm):
            values["scratch"] = True
    if grid.learning_rates.finetune:
        values["learning_rates"] = list(grid.learning_rates.finetune)
    values = changed(values, grid.arms[arm].finetune, f"arms.{arm}.finetune", file)
    values |= {"run": str(folder), "seed": seed, "seeds": [seed]}
    return runfile.checked(FinetuneRun, values, file, f"arms.{arm}.finetune ({task})")


def changed(base: object, changes: Mapping[str, Any], name: str, file: Path | None = None) -> dict[str, Any]:
    """A deep copy of `base` in which each path of `changes` ("data.format") holds its value, whole."""
    if not isinstance(base, Mapping):
        raise InputError(f"{name}: found {type(base).__name__}", file=file, expected="keys and values")
    values = _plain(base)
    for path, value in changes.items():
        *sections, last = path.split(".")
        place = values
        for section in sections:
            inner = place.setdefault(section, {})
            if not isinstance(inner, dict):
                raise InputError(f"{name}.{path}: {section} is {inner!r}, it has no keys", file=file)
            place = inner
        place[last] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    """A deep copy in YAML's own types."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _content(base: Base, grid_file: Path) -> dict[str, Any]:
    """A base run's keys and values, from its file beside the grid where it is one."""
    if not isinstance(base, Path):
        return base
    return runfile.values_of(grid_file.parent / base)
