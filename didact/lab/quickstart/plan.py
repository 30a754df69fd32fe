"""What the quickstart does, from a file (quickstart.yaml, quickstart-long.yaml): the run files that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from didact.data.store import write_aside
from didact.runs import runfile
from didact.runs.schema import FinetuneRun, Part, PretrainRun

PRETRAINED, START, SCRATCH = "pretrained", "start", "scratch"
FOLDER = Path(__file__).parent


class TokenizerPart(Part):
    """kind: of model; vocabulary: pieces; cased: whether capitals and accents are kept."""

    kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    vocabulary: int = Field(default=8192, ge=300)
    cased: bool = True


class Plan(Part):
    """search: folders in which packages are looked for, this Python's own if there are none; start: a checkpoint that
    pre-training goes on from, null = fresh weights; tokenizer: one that is made of this corpus, as `didact tokenizer`
    takes it, to which the start is transferred (`model.start_transferred`); null = the start's own; pretrain: a run
    file for `didact pretrain` without `run` and `data.train`; finetune: one for `didact finetune` without `run`,
    `start`, `scratch` and the task's own; tasks: keys of each task's runs, which replace these one by one; sizes:
    records of each task's files, {"topic": {"train": 6000, "dev": 800, "test": 2000}}; validation: the share of
    documents held out while pre-training.
    """

    search: tuple[Path, ...] = ()
    start: str | None = None
    tokenizer: TokenizerPart | None = None
    validation: float = Field(default=0.02, gt=0, lt=0.5)
    sizes: dict[str, dict[Literal["train", "dev", "test"], int]] = Field(default_factory=dict)
    pretrain: dict[str, Any]
    finetune: dict[str, Any]
    tasks: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _one_architecture(self) -> Plan:
        if self.start is not None and self.pretrain.get("model"):
            raise ValueError("a start, whose architecture all arms have, or pretrain.model")
        return self

    @property
    def made(self) -> TokenizerPart | None:
        """The tokenizer that is made of the corpus, None where the start's own is taken."""
        return self.tokenizer or (TokenizerPart() if self.start is None else None)

    @property
    def arms(self) -> dict[str, str]:
        """What is fine-tuned on each task, the one in question first, and what the report calls it."""
        if self.start is None:
            return {PRETRAINED: "pre-trained", SCRATCH: "from scratch"}
        name = Path(self.start).name
        return {PRETRAINED: f"{name}, adapted", START: f"{name} as it comes", SCRATCH: "from scratch"}


def shipped() -> dict[str, Path]:
    """The plans that come with didact, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("quickstart*.yaml"))}


def read(file: Path) -> Plan:
    """The plan in a file, every run file of it checked. Raises InputError."""
    plan: Plan = runfile.read(file, Plan)
    pretrain_run(plan, Path("out"))
    for task in plan.tasks:
        finetune_run(plan, Path("out"), task, PRETRAINED)
    return plan


def write(plan: Plan, out: Path) -> None:
    """OUT/plan.yaml."""
    out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_aside(out / "plan.yaml", text)


def pretrain_run(plan: Plan, out: Path) -> PretrainRun:
    """The pre-training run, in OUT/pretrain."""
    own: dict[str, Any] = {"run": str(out / "pretrain"), "data": {"train": str(out / "store")}}
    if plan.start is not None:
        own["model"] = {"start" if plan.made is None else "start_transferred": plan.start}
    return runfile.checked(PretrainRun, merged(plan.pretrain, own), prefix="pretrain")


def finetune_run(plan: Plan, out: Path, task: str, arm: str) -> FinetuneRun:
    """A task from one of the arms' weights, equal in everything else, in OUT/finetune/TASK-ARM."""
    files = {split: str(out / "tasks" / task / f"{split}.jsonl") for split in ("train", "dev", "test")}
    own = {
        "run": str(out / "finetune" / f"{task}-{arm}"),
        "start": plan.start if arm == START else str(out / "pretrain"),
        "scratch": arm == SCRATCH,
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
