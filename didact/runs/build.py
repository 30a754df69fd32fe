"""From a run file's words to the library's things: objectives, tasks, batches, each complaint naming its key."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict

from didact import objectives, tasks
from didact.data.stream import BySequences, ByTokens
from didact.errors import InputError
from didact.objectives import Combined, Corruption, Mixed, Objective, Select
from didact.runs.schema import SHORTEST, BatchPart
from didact.tasks import Item, Task
from didact.tokenization.tokenizer import Tokenizer

FINITE = ConfigDict(allow_inf_nan=False)  # YAML has .nan and .inf, and no field is meant to hold them


def objective_of(parts: Mapping[str, Mapping[str, Any]], tokenizer: Tokenizer) -> Objective:
    """{"masked": {"rate": 0.3, "select": "whole_words"}, "next_sentence": {"weight": 0.5}} -> an Objective.

    What a tokenizer knows (mask_id, vocabulary, specials) is filled in. `weight` is of the part in the sum.
    """
    if not parts:
        raise InputError("objective: found none", expected=f"one or more of {', '.join(_kinds(objectives.OBJECTIVES))}")
    built, weights = [], []
    for kind, fields in parts.items():
        own = dict(fields or {})
        weights.append(_weight(own.pop("weight", 1.0), f"objective.{kind}.weight"))
        built.append(_part(kind, own, tokenizer, f"objective.{kind}"))
    alone = len(built) == 1 and weights == [1.0] and not built[0].follows  # which must see what it stands beside
    try:
        objective = built[0] if alone else Combined(tuple(built), tuple(weights))
        _ = objective.heads  # which check their own fields
    except ValueError as problem:
        raise InputError(f"objective: {problem}") from None
    objective.check(tokenizer)
    return objective


def _part(kind: str, own: Mapping[str, Any], tokenizer: Tokenizer, path: str) -> Objective:
    """One objective of its fields; those of a mixture are parts of their own."""
    cls = _of_kind(objectives.OBJECTIVES, kind, path.rpartition(".")[0])
    if cls is Combined:
        raise InputError(f"{path}: found a part", expected="the parts themselves, side by side")
    if cls is Mixed:
        return _mixed(own, tokenizer, path)
    return _filled(cls, own, _facts(cls, tokenizer, kind), path)


def _mixed(own: Mapping[str, Any], tokenizer: Tokenizer, path: str) -> Objective:
    """{"parts": [{"span_corruption": {"rate": 0.5}, "share": 2, "mode": "[X]"}, …]}, or without parts UL2's, whose
    modes are {"modes": {"R": "[R]", "S": "[S]", "X": "[X]"}}, these unless told, none = {}.
    """
    if "parts" not in own:
        facts = _facts(objectives.SpanCorruption, tokenizer, "mixed")
        modes = _typed(own.get("modes", {name: f"[{name}]" for name in "RSX"}), dict[str, str], f"{path}.modes")
        if unknown := [*sorted(set(own) - {"modes"}), *sorted(set(modes) - set("RSX"))]:
            raise InputError(f"{path}.{unknown[0]}: unknown key", expected="parts, or modes of R, S and X")
        ids = {name: _mode(token, tokenizer, f"{path}.modes.{name}") for name, token in modes.items()}
        return objectives.ul2(facts["sentinels"], facts["start"], facts["end"], ids)
    parts, shares, modes = [], [], []
    if unknown := sorted(set(own) - {"parts"}):
        raise InputError(f"{path}.{unknown[0]}: unknown key", expected="parts, each with its share and mode")
    for number, spec in enumerate(_typed(own["parts"], list[dict[str, Any]], f"{path}.parts")):
        place, rest = f"{path}.parts.{number}", dict(spec)
        shares.append(_weight(rest.pop("share", 1.0), f"{place}.share"))
        modes.append(_mode(rest.pop("mode", None), tokenizer, f"{place}.mode"))
        if len(rest) != 1:
            raise InputError(f"{place}: found {', '.join(rest) or 'none'}", expected="one objective, share and mode")
        ((kind, fields),) = rest.items()
        parts.append(_part(kind, fields or {}, tokenizer, f"{place}.{kind}"))
    told = tuple(modes) if any(mode is not None for mode in modes) else None
    try:
        return Mixed(tuple(parts), None if len(set(shares)) <= 1 else tuple(shares), told)
    except ValueError as problem:
        raise InputError(f"{path}: {problem}") from None


def _mode(token: Any, tokenizer: Tokenizer, path: str) -> int | None:
    """The id of a token that says what is wanted."""
    if token is None:
        return None
    found = tokenizer.id_of(str(token))
    if found is None or found not in tokenizer.special_ids:
        raise InputError(
            f"{path}: the tokenizer has no special token {token!r}",
            expected=f"one that has it (didact tokenizer --special '{token}')",
        )
    return found


def task_of(spec: Mapping[str, Mapping[str, Any]], length: int) -> Task:
    """{"classify": {"columns": {...}}} -> a Task reading sequences of at most `length` tokens."""
    if len(spec) != 1:
        raise InputError(
            f"task: found {', '.join(spec) or 'none'}", expected=f"one of {', '.join(_kinds(tasks.TASKS))}"
        )
    ((kind, fields),) = spec.items()
    own = {"length": length, **_keys(fields or {}, f"task.{kind}")}
    if isinstance(own["length"], int) and own["length"] < SHORTEST:
        raise InputError(f"task.{kind}.length: found {own['length']}", expected=f"{SHORTEST} or more")
    return columns_known(_filled(_of_kind(tasks.TASKS, kind, "task"), own, {}, f"task.{kind}"))


def columns_known(task: Task) -> Task:
    """The task; InputError where its columns are of a field that it does not have, which would be passed over."""
    known = (*task.named, "id", "group")
    for name in getattr(task, "columns", {}) if task.named else ():
        if name not in known:
            raise InputError(f"task.{task.kind}.columns.{name}: unknown field", expected=f"one of {', '.join(known)}")
    return task


def learned(task: Task, items: Sequence[Item]) -> Task:
    """The task with what only the training file knows; InputError where what it was told does not fit that."""
    try:
        return task.learn(items)
    except InputError:
        raise
    except ValueError as problem:
        raise InputError(f"task.{task.kind}: {problem}") from None


def batch_of(batch: BatchPart) -> BySequences | ByTokens:
    """How much one optimizer step is."""
    amount, unit = batch.size
    if unit == "sequences":
        return BySequences(amount, batch.warmup)
    if batch.warmup:
        raise InputError("batch.warmup: found stairs for a batch in tokens", expected="a batch in sequences")
    return ByTokens(amount)


def changed(thing: Any, changes: Mapping[str, Any], path: str) -> Any:
    """A frozen dataclass with some fields replaced, nested ones by mappings; unknown names and wrong types refused."""
    hints = get_type_hints(type(thing))
    names = [f.name for f in dataclasses.fields(thing) if f.init]
    values: dict[str, Any] = {}
    for name, value in _keys(changes, path).items():
        if name not in names:
            raise InputError(f"{path}.{name}: unknown key", expected=f"one of {', '.join(names)}")
        old = getattr(thing, name)
        if dataclasses.is_dataclass(old) and isinstance(value, Mapping):
            values[name] = changed(old, value, f"{path}.{name}")
        else:
            values[name] = _typed(value, hints[name], f"{path}.{name}")
    try:
        return dataclasses.replace(thing, **values)
    except ValueError as problem:
        raise InputError(f"{path}: {problem}") from None


def _filled(cls: type[Any], own: Mapping[str, Any], facts: Mapping[str, Any], path: str) -> Any:
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls) if f.init and f.name not in facts]
    values = dict(facts)
    for name, value in _keys(own, path).items():
        if name not in names:
            raise InputError(f"{path}.{name}: unknown key", expected=f"one of {', '.join(names)}" if names else "none")
        values[name] = _typed(value, hints[name], f"{path}.{name}")
    for field in dataclasses.fields(cls):
        bare = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if field.init and bare and field.name not in values:
            raise InputError(f"{path}.{field.name}: missing")
    try:
        return cls(**values)
    except (ValueError, TypeError) as problem:
        raise InputError(f"{path}: {problem}") from None


def _facts(cls: type[Objective], tokenizer: Tokenizer, kind: str) -> dict[str, Any]:
    """What an objective asks of the tokenizer by the names of its fields."""
    hints, names = get_type_hints(cls), {f.name for f in dataclasses.fields(cls)}
    end = tokenizer.eos if tokenizer.eos is not None else tokenizer.sep
    known = {"mask_id": tokenizer.mask, "vocabulary": tokenizer.vocabulary, "specials": tokenizer.special_ids}
    # Where a decoder begins, the model says; until it does, with what ends a text.
    known |= {"sentinels": tokenizer.sentinels, "start": end, "end": end}
    missing = [name for name in known if name in names and known[name] is None and hints[name] is int]
    if "mask_id" in missing:
        raise InputError(f"objective.{kind}: the tokenizer has no mask token", expected="one with [MASK] or <mask>")
    if missing:
        raise InputError(f"objective.{kind}: the tokenizer has no token that ends a text", expected="</s> or [SEP]")
    return {name: value for name, value in known.items() if name in names}


def _typed(value: Any, hint: Any, path: str) -> Any:
    """A YAML value as a field of this type."""
    if get_origin(hint) is tuple and get_args(hint)[0] is Corruption:
        wanted = _kinds(objectives.CORRUPTIONS)
        if not isinstance(value, list | tuple):
            raise InputError(f"{path}: found {value!r}", expected=f"a list of {', '.join(wanted)}")
        return tuple(_member(objectives.CORRUPTIONS, each, f"{path}.{i}") for i, each in enumerate(value))
    if isinstance(hint, type) and issubclass(hint, Select):
        return _member(objectives.SELECTS, value, path)
    if get_origin(hint) in (Union, types.UnionType) and any(_is_select(h) for h in get_args(hint)):
        return _member(objectives.SELECTS, value, path)
    from didact.runs.runfile import checked

    last = path.rpartition(".")[2]
    wrapper = dataclasses.make_dataclass("Wrapper", [(last, hint)], namespace={"__pydantic_config__": FINITE})
    return getattr(checked(wrapper, {last: value}, prefix=path.rpartition(".")[0]), last)


def _keys(given: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{path}: found {given!r}", expected="keys and values")
    return given


def _is_select(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Select)


def _member(registry: tuple[type[Any], ...], value: Any, path: str) -> Any:
    """ "whole_words", or {"spans": {"p": 0.2}}: a member of a registry and its fields."""
    spec = {value: {}} if isinstance(value, str) else value
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise InputError(f"{path}: found {value!r}", expected=f"one of {', '.join(_kinds(registry))}")
    ((kind, fields),) = spec.items()
    return _filled(_of_kind(registry, kind, path), fields or {}, {}, f"{path}.{kind}")


def _of_kind(registry: tuple[type[Any], ...], kind: str, path: str) -> type[Any]:
    for cls in registry:
        if cls.kind == kind:
            return cls
    raise InputError(f"{path}: found {kind!r}", expected=f"one of {', '.join(_kinds(registry))}")


def _kinds(registry: tuple[type[Any], ...]) -> list[str]:
    return [cls.kind for cls in registry if cls is not Combined]


def _weight(value: Any, path: str) -> float:
    number: Literal[0] | float = value if isinstance(value, int | float) else 0
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise InputError(f"{path}: found {value!r}", expected="a number above 0")
    return float(number)
