"""Read a run file: YAML, then `section.key=value` changes, then the schema; every mistake is one line with its path."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from didact.errors import InputError

R = TypeVar("R", bound=BaseModel)

REGISTRIES: tuple[tuple[str, str, str], ...] = (
    ("FAMILIES", "didact.families", "name"),
    ("OBJECTIVES", "didact.objectives", "kind"),
    ("SELECTS", "didact.objectives", "kind"),
    ("CORRUPTIONS", "didact.objectives", "kind"),
    ("FORMATS", "didact.data.documents", "kind"),
    ("TASKS", "didact.tasks", "kind"),
    ("HEADS", "didact.heads", "kind"),
    ("POSITIONS", "didact.nn.position", "name"),
    ("CORES", "didact.nn.cores", "name"),
)
"""tuples that a user's module may add to by tuples of the same names: the room of each, and what its members go by"""


def read(path: Path, schema: type[R], changes: Sequence[str] = ()) -> R:
    """The run file at `path` with `changes` ("optimizer.learning_rate=1e-4") applied, checked against `schema`."""
    values = values_of(path)
    for change in changes:
        _change(values, change)
    return checked(schema, values, path)


def values_of(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file, as they stand there. InputError where it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such run file", file=path, expected="a YAML file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"cannot be read: {problem}", file=path, expected="a YAML file in UTF-8") from None
    try:
        values = yaml.load(text, _EachOnce)
    except yaml.MarkedYAMLError as problem:
        row = None if problem.problem_mark is None else problem.problem_mark.line + 1
        raise InputError(f"not YAML: {problem.problem}", file=path, row=row) from None
    except yaml.reader.ReaderError as problem:  # which has no mark, but a place
        row = text.count("\n", 0, problem.position) + 1
        raise InputError(f"not YAML: {problem.reason}", file=path, row=row) from None
    if not isinstance(values, dict):
        raise InputError(f"found {type(values).__name__}", file=path, expected="keys and values")
    return values


class _EachOnce(yaml.SafeLoader):
    """YAML's own loader takes the last of two keys of one name, and says nothing of the other."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key_node.tag != "tag:yaml.org,2002:merge" and isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} stands there twice", problem_mark=key_node.start_mark)
            seen |= {key} if isinstance(key, Hashable) else set()
        return super().construct_mapping(node, deep)


def checked(schema: Any, values: object, file: str | Path | None = None, prefix: str = "") -> Any:
    """`values` as an instance of `schema` (a pydantic model or a plain dataclass), or an InputError naming the key."""
    try:
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            return schema.model_validate(values)
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as problem:
        raise InputError(_first(problem, schema, prefix), file=file) from None


def resolved(run: BaseModel) -> dict[str, Any]:
    """Every key of it, as a file has them."""
    return run.model_dump(mode="json", by_alias=True)


def begun_with(run: BaseModel, file: Path) -> dict[str, Any]:
    """What an earlier run of this kind was begun with: its file, and the keys that there were not yet as they are where
    nobody says anything.
    """
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        return resolved(type(run).model_validate(said))
    except ValidationError:  # keys that there are no more
        return said


def dump(run: BaseModel) -> str:
    """The resolved run file: defaults filled in, so that it repeats the run whatever defaults become later."""
    values = resolved(run)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def load_plugins(modules: Sequence[str]) -> None:
    """Import the user's own modules, named in their own run file (never from a checkpoint), and add what their tuples
    hold to the registries of the same names (OBJECTIVES, TASKS …). The current folder is looked in last.

    Raises InputError where a module is not found, or a member has the name of another.
    """
    if modules and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    for module in modules:
        try:
            own = vars(importlib.import_module(module))
        except ModuleNotFoundError as problem:
            raise InputError(f"plugins: cannot import {module!r}: {problem}") from None
        for registry, place, called in REGISTRIES:
            room = importlib.import_module(place)
            for member in own.get(registry, ()):
                known = getattr(room, registry)
                name = getattr(member, called)
                if member in known:
                    continue
                if name in [getattr(other, called) for other in known]:
                    raise InputError(f"plugins: {module}.{registry}: there is a {name!r} already")
                setattr(room, registry, (*known, member))


def _change(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise InputError(f"found {change!r}", expected="section.key=value")
    *sections, last = name.strip().split(".")
    place: dict[str, Any] = values
    for section in sections:
        inner = place.setdefault(section, {})
        if inner is None:
            inner = place[section] = {}
        if not isinstance(inner, dict):
            raise InputError(f"{name}: {section} is {inner!r}, it has no keys", expected="section.key=value")
        place = inner
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{name}: cannot read {text!r}", expected="a YAML value") from None


WANTED: tuple[tuple[str, str], ...] = (
    ("path", "a path"),
    ("int", "a whole number"),
    ("float", "a number"),
    ("bool", "true or false"),
    ("string_type", "text"),
    ("tuple", "a list"),
    ("list", "a list"),
    ("dict", "keys and values"),
    ("mapping", "keys and values"),
    ("model", "keys and values"),
    ("dataclass", "keys and values"),
)
"""how a complaint of the schema begins, and what a user who has not seen the schema would call what it wants"""


def _expected(complaint: Mapping[str, Any]) -> str:
    for kind, wanted in WANTED:
        if complaint["type"].startswith(kind):
            return wanted
    said = complaint["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return said[:1].lower() + said[1:]


def _first(problem: ValidationError, schema: Any, prefix: str) -> str:
    """The first of a schema's complaints in one line: path, what is wrong, what was given; how many more. Of those of
    a union's members, that of the one in which the value got furthest.
    """
    complaints = problem.errors(include_url=False)
    paths = [[str(step) for step in complaint["loc"] if not _type_name(step)] for complaint in complaints]
    within = [at for at, path in enumerate(paths) if path[: len(paths[0])] == paths[0]]
    furthest = max(within, key=lambda at: len(paths[at]))
    first = complaints[furthest]
    path = ".".join([*([prefix] if prefix else []), *paths[furthest]])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys(schema, first["loc"][:-1])
        text = f"{path}: unknown key" + (f"; expected one of {', '.join(known)}" if known else "")
    elif first["type"] in ("missing", "missing_argument"):
        text = f"{path}: missing"
    elif not path:  # of the file as a whole
        text = f"settings that do not go together; expected {_expected(first)}"
    else:
        shown = repr(first.get("input"))
        text = f"{path}: found {shown if len(shown) < 80 else shown[:77] + '…'}; expected {_expected(first)}"
    rest = len(complaints) - 1
    return text + (f" (and {rest} more)" if rest else "")


def _type_name(step: int | str) -> bool:
    """Whether a step of pydantic's path is not a key but the member of a union that it tried."""
    return isinstance(step, str) and (step[:1].isupper() or "[" in step or step in ("int", "float", "str", "bool"))


def _keys(schema: Any, location: Sequence[int | str]) -> list[str]:
    """The keys allowed at `location` of a schema, as far as its fields tell."""
    for step in location:
        fields: Mapping[str, Any] = getattr(schema, "model_fields", {})
        if isinstance(step, str) and step in fields:
            schema = fields[step].annotation
    names = getattr(schema, "model_fields", None) or getattr(schema, "__dataclass_fields__", None) or {}
    return list(names)
