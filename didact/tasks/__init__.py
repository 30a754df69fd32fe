"""The tasks: one file each, named in one tuple; to and from JSON by their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from didact.errors import InputError
from didact.tasks.answer import Answer
from didact.tasks.base import Dataset, Item, Prediction, Supervised, Task, frozen, to_json
from didact.tasks.choose import Choose
from didact.tasks.classify import Classify
from didact.tasks.embed import Embed
from didact.tasks.glue import Glue
from didact.tasks.tag import Tag
from didact.tasks.translate import Translate

TASKS: tuple[type[Task], ...] = (Classify, Tag, Answer, Choose, Glue, Translate, Embed)

__all__ = [
    "TASKS",
    "Answer",
    "Choose",
    "Classify",
    "Dataset",
    "Embed",
    "Glue",
    "Item",
    "Prediction",
    "Supervised",
    "Tag",
    "Task",
    "Translate",
    "from_json",
    "to_json",
]


def from_json(data: Mapping[str, Any]) -> Task:
    """The task that `to_json` wrote: {"kind": …, field: value …}. Raises InputError on an unknown kind or field, and on
    values that a task does not have.
    """
    kinds = {task.kind: task for task in TASKS}
    if data.get("kind") not in kinds:
        raise InputError(f"a task of kind {data.get('kind')!r}", expected=f"one of {', '.join(kinds)}")
    task = kinds[data["kind"]]
    assert dataclasses.is_dataclass(task)
    known = {f.name for f in dataclasses.fields(task)}
    if unknown := sorted(set(data) - known - {"kind"}):
        raise InputError(f"task {task.kind!r} with {', '.join(unknown)}", expected=f"only {', '.join(sorted(known))}")
    try:
        return task(**{name: frozen(value) for name, value in data.items() if name != "kind"})
    except ValueError as problem:
        raise InputError(f"task {task.kind!r}: {problem}") from None
