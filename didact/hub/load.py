"""Load a model by folder, run or hub name, with the heads it has or with those that are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from didact import tasks
from didact.errors import InputError
from didact.exchange import keys
from didact.heads import Classes, Head
from didact.hub.checkpoint import Checkpoint, Undrawn, open_checkpoint, shapes_of
from didact.hub.fetch import fetch
from didact.model import Model, Pretrained
from didact.nn.init import initialise
from didact.tokenization.tokenizer import Tokenizer


def load(
    name: str | Path,
    heads: Mapping[str, Head] | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    scratch: bool = False,
    generator: torch.Generator | None = None,
) -> Pretrained:
    """name: a Hugging Face folder, a didact checkpoint, a run folder (its best checkpoint, else its last), a
    sentence-transformers folder, or a name on the hub. Weights come in float32, whatever the file has.

    heads: None for those of the file. A head that is asked for takes the weights of the file's head of the same name,
    else of the only one of its slot, if their layers have the same shape (and their classes the same names, where
    both have names); otherwise it is drawn anew with `generator` and `Pretrained.fresh` says so.
    changes: other values of the model's configuration ({"dropout": 0.0}). scratch: configuration and tokenizer as in
    the file, all weights drawn anew: the baseline of a pre-trained start.

    Companions (ELECTRA's generator) are loaded where the file's own heads are; a model that is given other heads has
    none.

    Raises InputError on a file that is missing, damaged, of an unknown family, or has unknown or missing tensors.
    """
    found = open_checkpoint(fetch(name))
    wanted = found.heads if heads is None else heads
    pooler = found.model.pooler or any(head.pools(found.model) for head in wanted.values())
    config = keys.changed(found.model, {"pooler": pooler, **(changes or {})})
    tokenizer = Tokenizer.load(found.folder)
    if tokenizer.vocabulary > config.vocabulary:
        raise InputError(
            f"a tokenizer of {tokenizer.vocabulary} pieces", file=found.folder, expected=f"at most {config.vocabulary}"
        )
    if scratch:
        model = Model(config, wanted, generator)
        model.core.embedding.spell(tokenizer.tokens(range(config.vocabulary)))
        fresh, unused = tuple(model.state_dict()), ()
    else:
        with Undrawn():
            model = Model(config, wanted)
        fresh, unused = _fill(model, found, generator)
    task = found.section.get("task") if heads is None else None
    return Pretrained(
        model=model.eval(),
        tokenizer=tokenizer,
        family=found.family.name,
        task=None if task is None else tasks.from_json(task),
        objective=found.section.get("objective"),
        carried=found.config,
        fresh=fresh,
        unused=unused,
        companions={} if heads is not None else {inner: load(found.folder / inner) for inner in found.companions},
    )


def _fill(
    model: Model, found: Checkpoint, generator: torch.Generator | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put the file's weights into the model and draw the rest; (parameters drawn, tensors of the file left over)."""
    read = found.ours()
    given = read.tensors
    sources = pair(model.specs, found)
    state = {name: tensor for name, tensor in given.items() if not name.startswith("heads.")}
    used = set(state)
    for head, source in sources.items():
        for name, tensor in given.items():
            if name.startswith(f"heads.{source}."):
                state[f"heads.{head}." + name.removeprefix(f"heads.{source}.")] = tensor
                used.add(name)
    own = model.state_dict()
    table = "core.embedding.word.weight"
    for head in sources:  # an output matrix that was the table, and is to be its own, begins as what it was
        matrix = f"heads.{head}.decoder.weight"
        if found.model.tied and matrix in own and table in given and own[matrix].shape == given[table].shape:
            state.setdefault(matrix, given[table].clone())
    for name, tensor in state.items():
        if name not in own or own[name].shape != tensor.shape:
            raise InputError(
                f"the file has {name} {tuple(tensor.shape)}",
                file=found.folder,
                expected="changes that leave the shapes as they are, or a start from scratch",
            )
    fresh = tuple(name for name in own if name not in state)
    if inside := [name for name in fresh if name.startswith(("core.", "decoder."))]:
        raise InputError(
            f"the file has no {inside[0]}",
            file=found.folder,
            expected="changes that add no layers, a larger model by model.start_tiled, or a start from scratch",
        )
    for part in dict.fromkeys(_part(name) for name in fresh):
        initialise(model.get_submodule(part), model.config.init_std, generator)
    model.load_state_dict(state, strict=False)
    return fresh, tuple(sorted({*read.unused, *(given.keys() - used)}))


def _part(name: str) -> str:
    """The part of a model that is drawn as one: "heads.<name>", "pooler" or "core"."""
    return ".".join(name.split(".")[: 2 if name.startswith("heads.") else 1])


def pair(wanted: Mapping[str, Head], found: Checkpoint) -> dict[str, str]:
    """For each wanted head that can take a head of the file's weights, that one's name; see `load`."""
    pairs: dict[str, str] = {}
    for name, head in wanted.items():
        rivals = [other for other, theirs in found.heads.items() if theirs.slot == head.slot]
        source = name if name in rivals else rivals[0] if len(rivals) == 1 else None
        if source is not None and _alike(head, found.heads[source], found):
            pairs[name] = source
    return pairs


def _alike(a: Head, b: Head, found: Checkpoint) -> bool:
    if isinstance(a, Classes) and isinstance(b, Classes) and a.names and b.names and a.names != b.names:
        return False
    config = keys.changed(found.model, {"pooler": True})
    return shapes_of(config, {"head": a}) == shapes_of(config, {"head": b})
