"""docs/run_file.md: every key of a run file."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any

from didact.config import ModelConfig
from didact.data.documents import FORMATS
from didact.nn import cores
from didact.nn import position as positions
from didact.objectives import CORRUPTIONS, OBJECTIVES, SELECTS, Combined, Mixed, Objective
from didact.runs import schema
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.tasks import TASKS
from didact.training import schedule
from made import MADE
from made.keys import MARK, Entry, code, entries_of, keys_table, opening, shown, table

FACTS = (
    "mask_id",
    "vocabulary",
    "specials",
    "sentinels",
    "start",
    "end",
)  # what an objective is told of the tokenizer, never by the run file
OF_MODELS = ("start", "end", "mask", "segment", "special", "border")  # what a task learns of the model, likewise
IN_FILES = {
    Mixed: [
        Entry(
            "objective.mixed.parts",
            'list of `{OBJECTIVE: {…}, share: 1, mode: "[X]"}`',
            "UL2's seven",
            "what is mixed: an objective that asks a decoder; how likely it is beside the others, up to a factor (1 "
            "unless told); the token that the encoder reads before all others, if one is to say which it is",
        ),
        Entry(
            "objective.mixed.modes",
            "keys and values",
            '{R: "[R]", S: "[S]", X: "[X]"}',
            "without `parts`: the tokens of UL2's three kinds, regular, sequential and extreme; `{}`: none",
        ),
    ]
}
"""what a run file says of an objective that is built by other keys than its fields"""
_LENGTH = re.compile(r"(\| `task\.\w+\.length` \| integer \| )`\d+`")  # the run's own comes before the task's


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
    keys = IN_FILES.get(cls) or (entries_of(cls, f"{section}.{cls.kind}.", leave_out) if names else [])
    return [f"#### `{cls.kind}`", heading, *([keys_table(keys)] if keys else [])]


def listed(module: Any, names: Sequence[str]) -> str:
    """What a module's docstring says of each name, from its indented table."""
    lines = dict(re.findall(r"^    (\w+) {2,}(.+)$", inspect.getdoc(module) or "", re.MULTILINE))
    return table(("name", "what it is"), [(f"`{name}`", lines[name]) for name in names])
