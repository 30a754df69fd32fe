"""config.json, theirs and ours, as data that is read in both directions.

A key either maps to a field of ModelConfig (`Key`), or says something of fields only together with others (`Together`),
or changes the computation and is supported at some values only (`Only`), or has no effect here and is carried along as
it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from didact.config import Decoder, ModelConfig
from didact.errors import InputError

_PLAIN = ModelConfig()
PARTS: dict[str, type[Any]] = {
    f.name: type(part)
    for f in dataclasses.fields(_PLAIN)
    if dataclasses.is_dataclass(part := getattr(_PLAIN, f.name)) and not isinstance(part, type)
}
"""the fields of ModelConfig that have fields of their own"""
OPTIONAL: dict[str, type[Any]] = {"decoder": Decoder}
"""likewise, of models that have them"""
ALWAYS = ("position", "norms")  # those that even the oldest files have


@dataclass(frozen=True)
class Key:
    """theirs: the key; ours: the field, "position.maximum" for a part's; default: what their code assumes where the
    key is absent; words: (theirs, ours) where the values are called differently, the one we write first;
    ours_alone: a key that no other library knows, written only where it does not hold the default; more: what theirs
    is above ours, a number or the field that holds it, whose key stands before this one (RoBERTa's 514 positions are
    512 and an offset of 2).
    """

    theirs: str
    ours: str
    default: Any
    words: tuple[tuple[Any, Any], ...] = ()
    ours_alone: bool = False
    more: int | str = 0


@dataclass(frozen=True)
class Together:
    """theirs: keys that say something only together, or with other keys of the file; ours: the fields that they are.

    read: config.json -> the values of `ours`, by name; raises InputError on values that have no meaning here. write:
    the configuration -> the keys, where those of the file do not say it already.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    write: Callable[[ModelConfig], Mapping[str, Any]]


@dataclass(frozen=True)
class Only:
    """A key that changes the computation: every value but these is refused. absent: whether a file may leave it out:
    not where their code then assumes a value that is refused.
    """

    theirs: str
    values: tuple[Any, ...]
    absent: bool = True


@dataclass(frozen=True)
class Keys:
    """keys, only and together: see there; written: (key, value) of what older readers want to find, whatever the model;
    fixed: likewise, whatever a file said that was read; repeats: keys that say once more what others say, with the
    field that they repeat: another value is refused, null is not, and a file that had them gets them.
    """

    keys: tuple[Key, ...]
    only: tuple[Only, ...] = ()
    written: tuple[tuple[str, Any], ...] = ()
    together: tuple[Together, ...] = ()
    fixed: tuple[tuple[str, Any], ...] = ()
    repeats: tuple[tuple[str, str], ...] = ()


def read(config: Mapping[str, Any], keys: Keys, base: ModelConfig, file: object = None) -> ModelConfig:
    """Their config.json -> ours: `base` with what the keys say.

    Raises InputError (file) on a value of the wrong type, one that has no meaning here, or one that is refused.
    """
    path = None if file is None else str(file)
    for only in keys.only:
        if only.theirs not in config and not only.absent:
            raise InputError(f"no {only.theirs}", file=path, expected=" or ".join(map(repr, only.values)))
        if only.theirs in config and not any(_same(config[only.theirs], value) for value in only.values):
            raise InputError(
                f"{only.theirs} {config[only.theirs]!r} is not supported",
                file=path,
                expected=" or ".join(map(repr, only.values)),
            )
    values: dict[str, Any] = {}
    for key in keys.keys:
        value = config.get(key.theirs, key.default)
        if not _meant(value, key):
            known = ", ".join(str(word) for word, _ in key.words)
            expected = f"one of {known}" if known else f"a value like {key.default!r}"
            raise InputError(f"{key.theirs} {value!r}", file=path, expected=expected)
        values[key.ours] = dict(key.words)[value] if key.words else type(key.default)(value)
        if key.more:
            values[key.ours] -= values[key.more] if isinstance(key.more, str) else key.more
    try:
        for some in keys.together:
            values |= some.read(config)
        ours = changed(base, values)
    except InputError as problem:
        raise InputError(problem.found, file=path, expected=problem.expected) from problem
    for theirs, field in keys.repeats:
        if config.get(theirs) not in (None, _get(ours, field)):
            raise InputError(f"{theirs} {config[theirs]!r} is not supported", file=path, expected=_get(ours, field))
    return ours


def write(config: ModelConfig, keys: Keys, carried: Mapping[str, Any]) -> dict[str, Any]:
    """Ours -> their config.json: what was carried, with every key that now means something else put right."""
    out = dict(keys.written) | dict(carried) | dict(keys.fixed)
    out |= {theirs: _get(config, field) for theirs, field in keys.repeats if out.get(theirs) is not None}
    for key in keys.keys:
        value = _get(config, key.ours)
        if key.more and value is not None:
            value += _get(config, key.more) if isinstance(key.more, str) else key.more
        if key.words:
            said = [word for word, meaning in key.words if meaning == value]
            if out.get(key.theirs, key.default) not in said:
                out[key.theirs] = said[0] if said else value
        elif out.get(key.theirs, key.default) != value:
            out[key.theirs] = value
        if not key.ours_alone:
            out.setdefault(key.theirs, key.default)
    for some in keys.together:
        if not _says(some, out, config):
            out = {name: value for name, value in out.items() if name not in some.theirs} | dict(some.write(config))
    return out


def _says(some: Together, out: Mapping[str, Any], config: ModelConfig) -> bool:
    """Whether the keys are there and mean what the configuration is."""
    if not any(name in out for name in some.theirs):
        return False
    try:
        return all(_get(config, name) == value for name, value in some.read(out).items())
    except InputError:
        return False


def differences(config: ModelConfig, keys: Keys, base: ModelConfig) -> tuple[str, ...]:
    """The fields of `config` that these keys cannot express: those that do not come back when written and read."""
    said = write(config, keys, {})
    for key in keys.keys:
        if key.theirs in said and not _meant(said[key.theirs], key):
            del said[key.theirs]
    ours, back = config_to_json(config), config_to_json(read(said, keys, base))
    return tuple(f"{name} {ours[name]!r}" for name in ours if ours[name] != back[name])


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig as nested dictionaries, for a checkpoint that no other library reads."""
    return dataclasses.asdict(config)


def config_from_json(data: Mapping[str, Any], file: object = None) -> ModelConfig:
    """What `config_to_json` wrote. Raises InputError on an unknown field or values that do not go together."""
    parts: dict[str, Any] = dict(data)
    try:
        for name, part in PARTS.items():
            if name in ALWAYS or name in parts:
                parts[name] = part(**parts[name])
        for name, part in OPTIONAL.items():
            if parts.get(name) is not None:
                parts[name] = part(**parts[name])
        if parts.get("windows") is not None:
            parts["windows"] = tuple(parts["windows"])
        return ModelConfig(**parts)
    except (KeyError, TypeError, ValueError) as problem:
        raise InputError(f"not a model configuration: {problem}", file=None if file is None else str(file)) from problem


def changed(config: ModelConfig, changes: Mapping[str, Any]) -> ModelConfig:
    """The configuration with other values: {"dropout": 0.0, "position.maximum": 1024}, or
    {"position": {"maximum": 1024}}.

    Raises InputError on a field it does not have and on values that do not go together.
    """
    return _changed(config, changes)


def _changed(part: Any, changes: Mapping[str, Any]) -> Any:
    known = [f.name for f in dataclasses.fields(part)]
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        if first not in known:
            raise InputError(f"model field {path!r}", expected=f"one of {', '.join(known)}")
        if rest:
            inner.setdefault(first, {})[rest] = value
        elif isinstance(value, Mapping):
            inner.setdefault(first, {}).update(value)
        else:
            values[first] = tuple(value) if isinstance(value, list) else value
    for first, some in inner.items():
        old = getattr(part, first)
        values[first] = _changed(OPTIONAL[first]() if old is None and first in OPTIONAL else old, some)
    try:
        return dataclasses.replace(part, **values)
    except (ValueError, TypeError) as problem:
        raise InputError(str(problem)) from problem


def _get(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def _meant(value: Any, key: Key) -> bool:
    """Whether a value means something under this key."""
    return value in [word for word, _ in key.words] if key.words else _like(value, key.default)


def _like(value: Any, default: Any) -> bool:
    """Whether a JSON value is of the default's type; a whole number is a float too, a bool is not a number."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and (not default or all(_like(one, default[0]) for one in value))
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _same(value: Any, allowed: Any) -> bool:
    return type(value) is type(allowed) and value == allowed
