"""What the quickstart does, from a file (quickstart.yaml, quickstart-long.yaml): the run files that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from didact.errors import InputError
from didact.runs import runfile
from didact.runs.schema import FinetuneRun, Part, PretrainRun

ARMS = ("pretrained", "scratch")
FOLDER = Path(__file__).parent


class TokenizerPart(Part):
    """As `didact tokenizer` takes them."""

    kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    vocabulary: int = Field(default=8192, ge=300)
    cased: bool = True


class Plan(Part):
    """search: folders in which packages are looked for, this Python's own if there are none;
    pretrain: a run file for `didact pretrain` without `run` and `data.train`; finetune: one for `didact finetune`
    without `run`, `start`, `scratch` and the task's own, which stand in `tasks` and replace it key by key;
    sizes: records of each task's files, {"topic": {"train": 6000, "dev": 800, "test": 2000}};
    validation: the share of documents held out while pre-training.
    """

    search: tuple[Path, ...] = ()
    tokenizer: TokenizerPart = TokenizerPart()
    validation: float = Field(default=0.02, gt=0, lt=0.5)
    sizes: dict[str, dict[Literal["train", "dev", "test"], int]] = Field(default_factory=dict)
    pretrain: dict[str, Any]
    finetune: dict[str, Any]
    tasks: dict[str, dict[str, Any]]


def read(file: Path) -> Plan:
    """The plan in a file, every run file of it checked. Raises InputError."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as problem:
        raise InputError(f"cannot be read: {problem}", file=file) from None
    plan: Plan = runfile.checked(Plan, values, file=file)
    pretrain_run(plan, Path("out"))
    for task in plan.tasks:
        finetune_run(plan, Path("out"), task, ARMS[0])
    return plan


def write(plan: Plan, out: Path) -> None:
    """OUT/plan.yaml."""
    out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (out / "plan.yaml").write_text(text, encoding="utf-8")


def pretrain_run(plan: Plan, out: Path) -> PretrainRun:
    """The pre-training run, in OUT/pretrain."""
    own = {"run": str(out / "pretrain"), "data": {"train": str(out / "store")}}
    return runfile.checked(PretrainRun, merged(plan.pretrain, own), prefix="pretrain")


def finetune_run(plan: Plan, out: Path, task: str, arm: str) -> FinetuneRun:
    """A task from pre-trained weights or from scratch, equal in everything else, in OUT/finetune/TASK-ARM."""
    files = {split: str(out / "tasks" / task / f"{split}.jsonl") for split in ("train", "dev", "test")}
    own = {
        "run": str(out / "finetune" / f"{task}-{arm}"),
        "start": str(out / "pretrain"),
        "scratch": arm == "scratch",
        "data": files,
    }
    values = merged(merged(plan.finetune, plan.tasks[task]), own)
    return runfile.checked(FinetuneRun, values, prefix=f"tasks.{task}")


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `change` in place of its own, section by section."""
    made = dict(base)
    for name, value in change.items():
        old = made.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping) and name not in ("budget", "task", "objective")
        made[name] = merged(old, value) if both and isinstance(old, Mapping) else value
    return made
