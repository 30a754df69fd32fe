"""Writes the pages that are made from the code: docs/run_file.md, families.md, corruptions.md and pictures/*.svg.

    python docs/generate.py            write them
    python docs/generate.py --check    exit 1 where they are not what the code says

What a key means stands in the docstring of its class, as "key: meaning; key, key: meaning." A key without a meaning
is an error here.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import runpy
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from didact.batch import Example
from didact.config import ModelConfig
from didact.data.documents import FORMATS
from didact.exchange.keys import OPTIONAL, PARTS, Key
from didact.families import FAMILIES, Family
from didact.nn import cores
from didact.nn import position as positions
from didact.objectives import CORRUPTIONS, OBJECTIVES, SELECTS, Combined, Corruption, Objective, Select
from didact.packed import Packed
from didact.runs import schema
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.tasks import TASKS
from didact.training import schedule

FOLDER = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/generate.py from the code. Change the docstring, not this page. -->"
FACTS = (
    "mask_id",
    "vocabulary",
    "specials",
    "sentinels",
    "start",
    "end",
)  # what an objective is told of the tokenizer, never by the run file
OF_MODELS = ("start", "end", "mask", "segment", "special", "border")  # what a task learns of the model, likewise
BOUNDS = (("ge", "≥ {}"), ("gt", "> {}"), ("le", "≤ {}"), ("lt", "< {}"))
MARK = re.compile(r"(?:(?<=[.;)] )|^)(\w+(?:(?:, | and )\w+)*): ")  # where a docstring begins to speak of a key
Row = Sequence[str]
_LENGTH = re.compile(r"(\| `task\.\w+\.length` \| integer \| )`\d+`")  # the run's own comes before the task's
_CORRUPTED = runpy.run_path(str(FOLDER / "corrupted.py"))
_DRAWING = runpy.run_path(str(FOLDER / "pictures.py"))
picture, PICTURES, PLAIN = _DRAWING["picture"], _DRAWING["PICTURES"], _DRAWING["PLAIN"]


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
        return " or ".join(f"`{value}`" for value in inner)
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
    return str(value) if str(value).strip() else f'"{value}"'


def listed(module: Any, names: Sequence[str]) -> str:
    """What a module's docstring says of each name, from its indented table."""
    lines = dict(re.findall(r"^    (\w+) {2,}(.+)$", inspect.getdoc(module) or "", re.MULTILINE))
    return table(("name", "what it is"), [(f"`{name}`", lines[name]) for name in names])


def run_file() -> str:
    """docs/run_file.md."""
    model = entries_of(schema.ModelPart, "model.")
    config = entries_of(ModelConfig, "model.", leave_out=("vocabulary",))
    common = list(schema.Run.model_fields)
    shared = [e for e in entries_of(schema.Run) if not e.key.startswith("optimizer.")]
    pretrain = entries_of(PretrainRun, leave_out=[*common, "model", "objective"])
    finetune = entries_of(FinetuneRun, leave_out=[*common, "task", "model", "optimizer"])
    optimizers = {cls: cls.model_fields["optimizer"].get_default() for cls in (PretrainRun, FinetuneRun)}
    optimizer = [
        (f"`optimizer.{e.key}`", e.type, *(f"`{shown(getattr(o, e.key))}`" for o in optimizers.values()), e.meaning)
        for e in entries_of(schema.Optimizer)
    ]
    default = PretrainRun.model_fields["objective"].get_default(call_default_factory=True)
    parts = [
        "# The run file, key by key",
        MADE,
        "A run file is YAML. Unknown keys are errors. `section.key=value` on the command line changes one key; a whole "
        "section is replaced by `section='{key: value}'`: `budget='{steps: 1000}'` where the file has tokens, "
        "`objective='{causal: {}}'`. A list is written `[a, b]`; a key that is `null` by default is off, or decided "
        "elsewhere, until it is given. The file with every default filled in is kept as `RUN/run.yaml`; to run that "
        "repeats the run.",
        "## Keys of both kinds of run",
        keys_table(shared),
        "### optimizer",
        table(("key", "type", "`pretrain`", "`finetune`", "meaning"), optimizer),
        "### Schedules (`schedule.kind`)",
        listed(schedule, schedule.KINDS),
        "## `didact pretrain`",
        keys_table(pretrain),
        "Of `budget`'s keys exactly one is given.",
        "### model",
        "Beside these keys, every field of the model's configuration may be given; the defaults here are BERT's.",
        keys_table([*model, *config]),
        "`model.core` is one of:",
        listed(cores, [entry.name for entry in cores.CORES]),
        "`model.position.scheme` is one of:",
        listed(positions, [entry.name for entry in positions.POSITIONS]),
        "### Document formats (`data.format`)",
        table(
            ("name", "pairs", "what a sequence is"),
            [(f"`{f.kind}`", "yes" if f.pairs else "no", opening(f)) for f in FORMATS],
        ),
        "### objective",
        f"One of the following, or several side by side: their losses are added ({_alone()} stand "
        f"alone). Default: `{shown(default)}`. Every one of them also takes "
        "`weight` (a number above 0, default 1): how much its loss counts in the sum.",
        *[part for cls in OBJECTIVES if cls is not Combined for part in _member(cls, "objective", FACTS)],
        "### Selections",
        "`select: whole_words`, or with keys: `select: {spans: {p: 0.2}}`.",
        *[part for cls in SELECTS for part in _member(cls, "select")],
        "### Corruptions",
        "Of `denoised`, one after the other: `corruptions: [permute_sentences, {infill: {rate: 0.3}}]`. What each does "
        "to a text: [corruptions.md](corruptions.md).",
        *[part for cls in CORRUPTIONS for part in _member(cls, "corruptions")],
        "## `didact finetune`",
        keys_table(finetune),
        "Of `budget`'s keys exactly one is given.",
        "`model` takes the fields of the model's configuration, as above (`model: {dropout: 0.1}`).",
        "### task",
        "Exactly one of the following.",
        *[_LENGTH.sub(r"\1the run's `length`", part) for cls in TASKS for part in _member(cls, "task", OF_MODELS)],
    ]
    return "\n\n".join(parts) + "\n"


def _alone() -> str:
    """The objectives that are never parts of others."""
    *some, last = (f"`{c.kind}`" for c in OBJECTIVES if c is not Combined and c.alone is not Objective.alone)
    return f"{', '.join(some)} and {last}"


def _member(cls: type[Any], section: str, leave_out: Sequence[str] = ()) -> list[str]:
    """A registry's member: its name, what its docstring says first, its keys."""
    names = [field.name for field in dataclasses.fields(cls)]
    text = opening(cls)
    cut = MARK.search(text)
    heading = text[: cut.start()].strip() if cut else text
    if not heading:  # its docstring begins with its keys: what it is stands above it in the file
        heading = code((inspect.getdoc(sys.modules[cls.__module__]) or "").split("\n\n")[0].replace("\n", " "))
    keys = entries_of(cls, f"{section}.{cls.kind}.", leave_out) if names else []
    return [f"#### `{cls.kind}`", heading, *([keys_table(keys)] if keys else [])]


def families() -> str:
    """docs/families.md."""
    parts = [
        "# The families",
        MADE,
        "A family is a set of tables: what its model is made of, what transformers calls its settings and tensors, how "
        "it was pre-trained. `model.family` in a run file names one; every number below is a default that "
        "`model.KEY` replaces. Next: [plugins.md](plugins.md), to add one; "
        "[didact/families/bert.py](../didact/families/bert.py), to see one.",
        table(
            ("family", "layers × width", "heads", "feedforward", "positions", "norms", "activation", "vocabulary"),
            [_shape(family) for family in FAMILIES],
        ),
        table(("family", "pre-trained with", "input format", "tokenizer"), [_training(family) for family in FAMILIES]),
        "Who sees whom ([as pictures](visibility.md#as-pictures)), what is hidden from the rows that are asked, and "
        "what they are asked:",
        table(
            ("family", "core", "objective", "visibility", "hidden", "asked", "source"),
            [row for family in FAMILIES for row in _asking(family)],
        ),
    ]
    for family in FAMILIES:
        parts += [
            f"## {family.name}",
            opening_of(family),
            *_architectures(family),
            "Settings that are read from and written to `config.json`:",
            table(("`config.json`", "here", "where the file says nothing"), [_key(key) for key in family.keys.keys]),
            _refused(family) + "Every other key is carried along.",
        ]
    return "\n\n".join(parts) + "\n"


def _architectures(family: Family) -> list[str]:
    if not family.architectures:
        return ["transformers has no class for it: `didact` writes and reads the folder, with the names used here."]
    return [
        "What a checkpoint with these heads is to transformers, the first that fits:",
        table(
            ("class of transformers", "heads"),
            [(f"`{a.name}`", ", ".join(f"`{s}`" for s in a.slots) or "none") for a in family.architectures],
        ),
    ]


def _refused(family: Family) -> str:
    said = ", ".join(f"`{o.theirs}` ({' or '.join(shown(v) for v in o.values)})" for o in family.keys.only)
    return f"Settings that change the computation and are refused at any other value: {said}. " if said else ""


def opening_of(family: Family) -> str:
    """The first lines of the family's own file (of several that know it, the one that says how it was pre-trained)."""
    known = {n: vars(m).values() for n, m in sys.modules.items() if n.startswith("didact.families.")}
    files = [name for name, values in known.items() if any(value is family for value in values)]
    own = family.recipe.__module__ if family.recipe.__module__ in files else files[0]
    return code(" ".join((inspect.getdoc(sys.modules[own]) or "").split()))


def _shape(family: Family) -> Row:
    c = family.base
    filled = [slot for slot in ("attention_in", "attention_out") if getattr(c.norms, slot)]
    places = {"attention_out": "after each sublayer", "attention_in": "before each sublayer"}
    norm = next((place for slot, place in places.items() if slot in filled), "none")
    position = f"{c.position.scheme}, {c.position.maximum}" if c.position.maximum else c.position.scheme
    size = f"{c.layers if c.decoder is None else f'{c.layers} + {c.decoding.layers}'} × {c.width}"
    return (family.name, size, str(c.heads), str(c.feedforward), position, norm, c.activation, f"{c.vocabulary:,}")


def _training(family: Family) -> Row:
    objective = family.recipe(_tokenizer(family))
    parts = _parts(objective)
    weights = (isinstance(objective, Combined) and objective.weights) or (1.0,) * len(parts)
    pairs = ", ".join(f"`{f.kind}`" for f in FORMATS if f.pairs == (objective.relation is not None))
    keys = [_changes(p) | ({"weight": w} if w != 1.0 else {}) for p, w in zip(parts, weights, strict=True)]
    said = "`{" + ", ".join(f"{p.kind}: {shown(own)}" for p, own in zip(parts, keys, strict=True)) + "}`"
    return (family.name, said, pairs, family.tokenizer)


def _asking(family: Family) -> Iterable[Row]:
    """A row for each part of what the family was pre-trained with."""
    for part in _parts(family.recipe(_tokenizer(family))):
        hidden, asked = hidden_and_asked(type(part))
        yield (family.name, family.base.core, f"`{part.kind}`", _seen(family, part), hidden, asked, family.sources[0])


def hidden_and_asked(cls: type[Any]) -> tuple[str, str]:
    """What an objective's docstring says in its fixed form: "Hidden: … Asked: … " in its first paragraph."""
    found = re.match(r"Hidden: (.+?)\.? Asked: (.+?)(?:\.|(?<=\?))(?: Of (.+)\.)?$", _first(cls))
    if found is None:
        raise SystemExit(f"{cls.__module__}.{cls.__name__}: no 'Hidden: … Asked: …' in the docstring's first paragraph")
    return code(found[1]), code(found[2] + (f" (of {found[3]})" if found[3] else ""))


def _first(cls: type[Any]) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


def _tokenizer(family: Family) -> Any:
    start = None if family.base.decoder is None else family.base.decoder.start
    ids = {"cls": 2, "bos": 2, "mask": 4}
    ids |= {"pad": 0, "sep": 3, "eos": 3} if start is None else dict.fromkeys(("pad", "sep", "eos"), start)
    return SimpleNamespace(**ids, vocabulary=family.base.vocabulary, special_ids=(0, 1, 2, 3, 4), sentinels=(5, 6, 7))


def _parts(objective: Objective) -> Sequence[Objective]:
    return objective.parts if isinstance(objective, Combined) else (objective,)


def _seen(family: Family, part: Objective) -> str:
    """Who sees whom: the stream's own rule, else those that come with examples; the names of their pictures."""
    streams = cores.entry(family.base.core).streams
    own = ", ".join(dict.fromkeys(_drawn(family, part, seed) for seed in range(32)))
    seen = "; ".join(f"{streams[stream]} ({stream})" if streams[stream] else own for stream in part.streams)
    return f"{seen}; causal (decoder)" if part.decoder else seen


def _drawn(family: Family, part: Objective, seed: int) -> str:
    """The rule of a prepared pair, [CLS] a [SEP] b c [SEP], or the family's where it says none, by the picture that it
    is; where it asks query rows, a drawn order; else its kind.
    """
    rows = np.arange(6)
    special = np.isin(rows, (0, 2, 5))
    example = Example(
        tokens=np.where(special, rows, rows + 5),
        special=special,
        segments=(rows > 2).astype(np.int64),
        words=np.where(special, -1, rows),
        sentences=np.array([1, 3]),
        targets={"relation": 0},
    )
    prepared = part.prepare(example, np.random.default_rng(seed))
    packed = Packed.of([prepared.inputs.tokens.tolist()])
    if prepared.queries is not None:
        return "permutation"
    rule = prepared.visibility.unless_said(family.base.visibility)
    plain = {name: other(packed).matrix(packed) for name, other in PLAIN.items()}
    return next((name for name, other in plain.items() if torch.equal(rule.matrix(packed), other)), rule.kind)


def _changes(objective: Objective) -> dict[str, Any]:
    """What of an objective is not as it would be anyway."""
    found = {}
    for f in dataclasses.fields(objective):
        made = f.default_factory is not dataclasses.MISSING
        default = f.default_factory() if made else f.default  # type: ignore[misc]
        if f.name not in FACTS and default is not dataclasses.MISSING and getattr(objective, f.name) != default:
            found[f.name] = getattr(objective, f.name)
    return found


def _key(key: Key) -> Row:
    words = ", ".join(f"`{theirs}` = `{ours}`" for theirs, ours in key.words if theirs != ours)
    return (f"`{key.theirs}`", f"`{key.ours}`" + (f" ({words})" if words else ""), f"`{shown(key.default)}`")


PAGES = {"run_file.md": run_file, "families.md": families, "corruptions.md": partial(_CORRUPTED["page"], MADE)} | {
    f"pictures/{name.replace(' ', '_')}.svg": partial(picture, name) for name in PICTURES
}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check only compare. The exit code."""
    stale = []
    for name, make in PAGES.items():
        page, text = FOLDER / name, make()
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                page.parent.mkdir(exist_ok=True)
                page.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"not what the code says: {', '.join(stale)}; run: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
