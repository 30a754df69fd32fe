"""Whether the validation figures of two pre-training runs are answers to the same questions: the same held-out rows,
hidden at the same places. Where they are not, a difference is of questions as well as of models, the same in every
seed, and no interval over seeds knows of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from didact import objectives
from didact.data.stored import META, sha256
from didact.objectives import Masked, Objective, Replaced
from didact.runs.runfile import load_plugins
from didact.runs.schema import PretrainRun

OTHER = "other validation questions"
UNASKED = {"weight", "smoothing", "name"}  # of an objective: what changes nothing in what validation asks
Spec = Mapping[str, Any] | None


def other_questions(ours: PretrainRun, theirs: PretrainRun, metric: str) -> str:
    """OTHER, or nothing where both runs' `metric` ("mlm@15/loss") asks the same. A figure at a fixed rate does not
    depend on the rate that is trained at.
    """
    rated = "@" in metric.partition("/")[0]
    same = _rows(ours) == _rows(theirs) and _hidden(ours, theirs, rated)
    return "" if same else OTHER


def _rows(run: PretrainRun) -> tuple[Any, ...]:
    """What decides which rows are held out, and how they are laid."""
    data = run.data
    stores = [part.store for part in data.stores]
    known = [sha256(store / META) if (store / META).is_file() else str(store) for store in stores]
    load_plugins(run.plugins)
    related = [kind for kind in run.objective if _class(kind).relation is not Objective.relation]
    return (known, data.format, data.length, run.validation.sequences, run.validation.seed, sorted(related))


def _hidden(ours: PretrainRun, theirs: PretrainRun, rated: bool) -> bool:
    """Whether the objectives that both have hide the same; without one in common nothing is the same."""
    first, second = ({kind: _settings(kind, own, rated) for kind, own in _asked(run)} for run in (ours, theirs))
    common = first.keys() & second.keys()
    return bool(common) and all(first[kind] == second[kind] for kind in common)


def _asked(run: PretrainRun) -> Iterator[tuple[str, Spec]]:
    """The parts of a run's objective; replaced tokens without a generator are masked ones."""
    for kind, own in run.objective.items():
        told = dict(own or {})
        if kind == Replaced.kind and told.pop("control", False):
            alike = {name: told[name] for name in ("rate", "mask", "select") if name in told}
            yield Masked.kind, {"mask": Replaced.mask, "random": 0.0} | alike
        else:
            yield kind, told


def _settings(kind: str, spec: Spec, rated: bool) -> dict[str, Any]:
    """An objective's keys with their defaults."""
    left_out = UNASKED | ({"rate"} if rated else set())
    defaults = {
        field.name: None if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(_class(kind))
    }
    given = {name: value for name, value in (spec or {}).items() if name not in left_out}
    return {name: _plain(given.get(name, default)) for name, default in defaults.items() if name not in left_out} | {
        name: _plain(value) for name, value in given.items() if name not in defaults
    }


def _plain(value: Any) -> Any:
    """A choice as one mapping, however it is written: "tokens", {"tokens": {}}, or its class's own instance."""
    if dataclasses.is_dataclass(value) and (kind := getattr(value, "kind", "")):
        return {kind: {}}
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, Mapping):
        return {name: _plain(inner) if inner is not None else {} for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _class(kind: str) -> Any:
    return next(cls for cls in objectives.OBJECTIVES if cls.kind == kind)
