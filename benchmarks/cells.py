"""Cells of a comparison that takes hours: each is carried out once, in any order, and its line and predictions kept.

OUT/results.jsonl                 a line a cell
OUT/predictions/TASK-ARM-SEED.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from didact.evaluation.evaluate import compare
from didact.lab.sheets import answers_in
from didact.tasks import Task
from didact.tasks.base import Item

Line = dict[str, Any]
"""of the results file: at least the `cell`, its `scores`, `steps` and `train_seconds`"""


def finished(file: Path) -> list[Line]:
    """The lines of a results file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def add(file: Path, line: Line) -> None:
    """One more."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def kept(out: Path, cell: str) -> Path:
    """Where a cell's predictions lie."""
    return out / "predictions" / f"{cell.replace(':', '-')}.jsonl"


def keep(out: Path, cell: str, predictions: Iterable[dict[str, Any]]) -> None:
    """Write them there."""
    kept(out, cell).parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in predictions)
    kept(out, cell).write_text(text, encoding="utf-8")


def difference(task: Task, ours: Sequence[Line], theirs: Sequence[Line], test: Sequence[Item], out: Path) -> str:
    """The one side's main score less the other's with its paired 95 % interval, over examples, with what seeds add."""
    both = [[answers_in(kept(out, line["cell"])) for line in side] for side in (ours, theirs)]
    change = compare(task, both[0], both[1], test, new_seeds=True)[task.main]
    return f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"


def serve(
    parser: argparse.ArgumentParser,
    known: Collection[str],
    run: Callable[[str, argparse.Namespace], Line],
    table: Callable[[list[Line], Path], str],
    arguments: Sequence[str] | None,
) -> None:
    """The command: the cells that are asked for, or all, but for those that are done; or what there is; or its table.

    parser: with the command's own options, `--out` among them; table: of the lines of `--out`.
    """
    parser.add_argument("--cells", nargs="+", default=[], metavar="TASK:ARM:SEED")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args(arguments)
    results = given.out / "results.jsonl"
    done = {line["cell"] for line in finished(results)}
    if given.list:
        print("\n".join(f"{name}{'  done' if name in done else ''}" for name in known))
        return
    if given.table:
        print(table(finished(results), given.out))
        return
    if unknown := [name for name in given.cells if name not in known]:
        parser.error(f"no cells {', '.join(unknown)}; known: {', '.join(known)}")
    if given.threads:
        torch.set_num_threads(given.threads)
    for name in given.cells or known:
        if name in done:
            continue
        line = run(name, given)
        add(results, line)
        print(f"{name}: {line['scores']}, {line['steps']} steps in {line['train_seconds']:.0f} s", flush=True)
