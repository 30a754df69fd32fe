"""The quickstart's stages: each a few commands, skipped where it has been carried out, with its time and memory.

What is not a command of `didact` itself stands here as a function of the folder alone, and is run in a process of its
own as well, so that no stage's memory weighs on the next.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didact.lab.commands import Command, didact, run_all
from didact.lab.quickstart.plan import Plan
from didact.lab.quickstart.usage import Usage

Show = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """name: in the report; commands: what it takes; at_once: how many of them side by side."""

    name: str
    commands: tuple[Command, ...]
    at_once: int = 1

    @property
    def left(self) -> list[Command]:
        """What is still to be done."""
        return [command for command in self.commands if not command.made.exists()]


def stages(plan: Plan, out: Path, cores: int, threads: int) -> list[Stage]:
    """All of them, in order. cores: of this machine; threads: of one fine-tuning, several of which run at once."""
    logs = out / "logs"

    def own(name: str, module: str, function: str, made: Path) -> Command:
        """A function of this room, given OUT."""
        text = f"import sys; from didact.lab.quickstart.{module} import {function}; {function}(sys.argv[1])"
        return Command(name, ("-c", text, str(out)), logs / f"{name}.log", made)

    corpus, tokenizer, store = out / "corpus.jsonl", out / "tokenizer", out / "store"
    made: list[Command] = []
    if (t := plan.made) is not None:
        made.append(didact(
            "tokenizer", "tokenizer", corpus, "--kind", t.kind, "--vocab", str(t.vocabulary),
            "--cased" if t.cased else "--uncased", "--out", tokenizer,
            log=logs / "tokenizer.log", made=tokenizer / "tokenizer.json",
        ))  # fmt: skip
    tasks = own("tasks", "texts", "tasks", out / "tasks" / "counts.json")
    pieces = str(tokenizer) if made else plan.start
    assert pieces is not None
    prepare = didact(
        "store", "prepare", corpus, "--tokenizer", pieces, "--out", store, "--validation", str(plan.validation),
        log=logs / "store.log", made=store / "store.json",
    )  # fmt: skip
    pretrain = didact(
        "pretrain", "pretrain", out / "pretrain.yaml",
        log=logs / "pretrain.log", made=out / "pretrain" / "result.json",
    )  # fmt: skip
    cells = [out / "finetune" / f"{task}-{arm}" for task in plan.tasks for arm in plan.arms]
    finetune = [
        didact(cell.name, "finetune", cell.with_suffix(".yaml"),
               log=logs / f"{cell.name}.log", made=cell / "result.json", threads=threads)
        for cell in cells
    ]  # fmt: skip
    floors = own("floors", "compare", "floors", out / "floors.json")
    return [
        Stage("documents", (own("documents", "texts", "documents", corpus),)),
        Stage("tasks and tokenizer" if made else "tasks", (*made, tasks), cores),
        Stage("store", (prepare,)),
        Stage("pre-training", (pretrain,)),
        Stage("fine-tuning and floors", (*finetune, floors), max(1, cores // threads)),
        Stage("looking inside", (own("looking", "looking", "look", out / "looking.json"),)),
    ]


def carry_out(chosen: Sequence[Stage], out: Path, show: Show, say: Show) -> dict[str, Any]:
    """Every stage that is not done yet. show: told every moment what is under way; say: told what is done.

    Returns, and keeps in OUT/stages.json, what each took: seconds (added up over restarts), the most memory in use at
    once, seconds of each command.
    """
    file = out / "stages.json"
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for number, stage in enumerate(chosen, 1):
        own = told.setdefault(stage.name, {"seconds": 0.0, "peak_mib": 0.0, "commands": {}})
        if not stage.left:
            continue
        began = time.monotonic()
        head = f"[{number}/{len(chosen)}] {stage.name}"
        usage = Usage()
        try:
            with usage:
                own["commands"] |= run_all(stage.left, stage.at_once, lambda line, head=head: show(f"{head} · {line}"))
        finally:
            own["seconds"] += time.monotonic() - began
            own["peak_mib"] = max(own["peak_mib"], usage.peak_mib)
            _write(file, told)
        say(f"{head} · done in {own['seconds']:.0f} s, {own['peak_mib']:.0f} MiB")
    return told


def _write(file: Path, told: object) -> None:
    aside = file.with_name(f"{file.name}.part")
    aside.write_text(json.dumps(told, indent=1), encoding="utf-8")
    aside.replace(file)
