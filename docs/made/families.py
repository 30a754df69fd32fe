"""docs/families.md: what each family is made of, and how it was pre-trained."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from didact.batch import Example
from didact.data.documents import FORMATS
from didact.exchange.keys import Key
from didact.families import FAMILIES, Family
from didact.nn import cores
from didact.objectives import Combined, Forced, Objective
from didact.packed import Packed
from made import MADE
from made.keys import Row, code, shown, table
from made.pictures import PLAIN
from made.run_file import FACTS


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
    tells_apart = family.base.position.scheme == "relative"  # segments, in every layer: XLNet's are learned from pairs
    pairs = ", ".join(f"`{f.kind}`" for f in FORMATS if f.pairs == (tells_apart or objective.relation is not None))
    if any(isinstance(part, Forced) for part in parts):
        pairs = "pairs of texts (`didact finetune`, task `translate`)"
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
