"""docs/commands.md: every verb with its arguments and options, as `didact VERB --help` has them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from didact.cli.app import app
from made import MADE
from made.keys import Row, table

NAMES = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def commands() -> str:
    """docs/commands.md."""
    parts = [
        "# The verbs",
        MADE,
        "In the order of a project's life; `didact VERB --help` says the same. What a run file may say: "
        "[run_file.md](run_file.md). Exit codes: [training.md](training.md).",
    ]
    for command in app.registered_commands:
        verb: Any = command.callback
        rows = sorted(_rows(verb), key=lambda row: row[0].startswith("`-"))  # arguments first
        usage = " ".join(row[0].strip("`") for row in rows if not row[0].startswith("`-"))
        parts += [
            f"## {verb.__name__}",
            f"`didact {verb.__name__} {usage} [OPTIONS]`",
            inspect.cleandoc(verb.__doc__ or ""),
            table(("", "default", ""), rows),
        ]
    return "\n\n".join(parts) + "\n"


def _rows(verb: Any) -> Iterable[Row]:
    """(`ARGUMENT` or `--option VALUE`, default, meaning) of each parameter."""
    hints = get_type_hints(verb, include_extras=True)
    for name, parameter in inspect.signature(verb).parameters.items():
        hint, info = get_args(hints[name])[:2]
        assert get_origin(hints[name]) is Annotated
        required = parameter.default is inspect.Parameter.empty
        said = " ".join((info.help or "").split()).replace("<", "&lt;")
        if isinstance(info, ArgumentInfo):
            called = info.metavar or name.upper() + ("…" if _many(hint) else "")
            yield f"`{called if required or called.startswith('[') else f'[{called}]'}`", "", said
        else:
            assert isinstance(info, OptionInfo)
            yield f"`{_option(name, hint, info)}`", "required" if required else _default(parameter.default, info), said


def _option(name: str, hint: Any, info: OptionInfo) -> str:
    """`--out PATH`, `--cased/--uncased`, `--dtype float32|bfloat16`."""
    long = "--" + name.replace("_", "-")
    if hint is bool:
        return _sides(info) or f"{long}/--no-{long[2:]}"
    return f"{_sides(info) or long} {info.metavar or _value(hint)}"


def _sides(info: OptionInfo) -> str:
    """The names that the verb gives an option itself: the first argument of `typer.Option`, inside `Annotated`."""
    first = info.default if isinstance(info.default, str) and info.default.startswith("-") else None
    return "/".join([*([first] if first else []), *(info.param_decls or ())])


def _value(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(str(one) for one in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return _value(next(one for one in get_args(hint) if one is not type(None)))
    if get_origin(hint) is list:
        return _value(get_args(hint)[0])
    return NAMES[hint]


def _many(hint: Any) -> bool:
    return any(get_origin(one) is list for one in (hint, *get_args(hint)))


def _default(value: Any, info: OptionInfo) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        sides = _sides(info).split("/")
        return f"`{sides[0 if value else 1]}`" if len(sides) > 1 else ""
    return f"`{value}`"
