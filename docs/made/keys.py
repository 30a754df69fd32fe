"""What a class says of its keys: of each its type, its default, and its meaning, read off the docstring.

What a key means stands in the docstring of its class, as "key: meaning; key, key: meaning." A key without a meaning
is an error here.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from didact.exchange.keys import OPTIONAL, PARTS
from didact.objectives import Corruption, Objective, Select
from didact.runs import schema

BOUNDS = (("ge", "≥ {}"), ("gt", "> {}"), ("le", "≤ {}"), ("lt", "< {}"))
MARK = re.compile(r"(?:(?<=[.;)] )|^)(\w+(?:(?:, | and )\w+)*): ")  # where a docstring begins to speak of a key
Row = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One key: its path, what it may be, what it is where nothing is said, what it means."""

    key: str
    type: str
    default: str
    meaning: str


def table(header: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *escaped])


def keys_table(entries: Iterable[Entry]) -> str:
    rows = [(f"`{e.key}`", e.type, f"`{e.default}`" if e.default else "required", e.meaning) for e in entries]
    return table(("key", "type", "default", "meaning"), rows)


def meanings(cls: type[Any], names: Sequence[str]) -> dict[str, str]:
    """What a class's docstring, or its base's, says of each of its fields; "a, b: …" speaks of both."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one.__module__.startswith("didact."):
            found |= _meanings(" ".join((one.__doc__ or "").split()), names)
    return found


def _meanings(text: str, names: Sequence[str]) -> dict[str, str]:
    marks = list(MARK.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends if marks else [], strict=True):
        said = re.sub(r"[;.]$", "", text[mark.end() : end].strip())
        spoken = [name for name in re.split(", | and ", mark[1]) if name in names]
        whose = f"{', '.join(f'`{name}`' for name in spoken)}: " if len(spoken) > 1 else ""
        found |= {name: whose + code(said) for name in spoken}
    return found


def opening(cls: type[Any]) -> str:
    """The first paragraph of a docstring, up to where it speaks of single keys."""
    return code(" ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split()))


def code(text: str) -> str:
    """Python's words as YAML's and Markdown's."""
    return re.sub(r"\bNone\b", "`null`", text).replace("<=", "≤").replace("<", "&lt;").replace("**", "^")


def entries_of(cls: type[Any], prefix: str = "", leave_out: Sequence[str] = ()) -> list[Entry]:
    """The keys of a section or of a registry's member, those of sections inside it too."""
    found: list[Entry] = []
    fields = _fields(cls)
    said = meanings(cls, list(fields))
    for name, (hint, default, bounds) in fields.items():
        inner = _section(hint)
        if name in leave_out:
            continue
        if inner is not None:
            changed = default if dataclasses.is_dataclass(default) or isinstance(default, BaseModel) else None
            found += [_with_default(e, changed, f"{prefix}{name}.") for e in entries_of(inner, f"{prefix}{name}.")]
            continue
        if name not in said:
            raise SystemExit(f"{cls.__module__}.{cls.__name__}: the docstring does not say what {name!r} is")
        kind = spelled(hint) + "".join(f", {bound}" for bound in bounds)
        optional = next((one for one in get_args(hint) if one in OPTIONAL.values()), None)
        kind = kind if optional is None else "keys or null"
        found.append(Entry(f"{prefix}{name}", kind, shown(default), said[name]))
        found += [] if optional is None else entries_of(optional, f"{prefix}{name}.")
    return found


def _with_default(entry: Entry, section: Any, prefix: str) -> Entry:
    """The default that a section has where it stands (fine-tuning's optimizer is not pre-training's)."""
    if section is None:
        return entry
    value = section
    for step in entry.key.removeprefix(prefix).split("."):
        value = getattr(value, step)
    return dataclasses.replace(entry, default=shown(value))


def _fields(cls: type[Any]) -> dict[str, tuple[Any, Any, list[str]]]:
    """name -> type, default (`...` where there is none), bounds in words."""
    if issubclass(cls, BaseModel):
        hints = get_type_hints(cls, include_extras=True)
        return {n: (hints[n], _pydantic_default(f), _bounds(f)) for n, f in cls.model_fields.items()}
    hints = get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        default: Any = ... if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = (hints[field.name], default, [])
    return found


def _pydantic_default(field: FieldInfo) -> Any:
    return ... if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _bounds(field: FieldInfo) -> list[str]:
    return [form.format(getattr(m, name)) for m in field.metadata for name, form in BOUNDS if hasattr(m, name)]


def _section(hint: Any) -> type[Any] | None:
    """The class of a nested section: of pydantic, or a part of a ModelConfig."""
    if isinstance(hint, type) and (issubclass(hint, schema.Part) or hint in PARTS.values()):
        return hint
    return None


def spelled(hint: Any) -> str:
    """A type in a reader's words."""
    if hint is schema.Quantity:
        return "N `sequences` or N `tokens`"
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return spelled(inner[0])
    if origin is Literal:
        return " or ".join(f"`{shown(value)}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(spelled(one) for one in inner))
    if origin is tuple and inner[-1] is not ...:
        return "[" + ", ".join(spelled(one) for one in inner) + "]"
    if origin in (tuple, list):
        each = spelled(inner[0])
        return f"list of ({each})" if " or " in each else f"list of {each}"
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "keys and values"
    if hint is type(None):
        return "null"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}
    if hint in names:
        return names[hint]
    if isinstance(hint, type) and issubclass(hint, Select):
        return "one of [the selections](#selections)"
    if hint is Corruption:
        return "one of [the corruptions](#corruptions)"
    if hint is Objective:
        return "one of these objectives"
    if isinstance(hint, type) and issubclass(hint, schema.Part):
        return "{" + ", ".join(f"{e.key}: {e.type}" for e in entries_of(hint)) + "}"
    return getattr(hint, "__name__", str(hint))


def shown(value: Any) -> str:
    """A default as YAML has it; "" where the key is required."""
    if value is ...:
        return ""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if dataclasses.is_dataclass(value) and hasattr(value, "kind"):
        return str(value.kind)
    if isinstance(value, tuple) and len(value) == 2 and value[1] in ("sequences", "tokens"):
        return f"{value[0]} {value[1]}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + "}"
    return str(value) if str(value).strip() else json.dumps(str(value))
