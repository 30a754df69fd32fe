"""A checkpoint as it lies in a folder: whose it is, what it is made of, and its tensors, ours and theirs.

Two forms. Hugging Face's: `model_type` is a family's name, tensors are called as transformers calls them; a section
"didact" of config.json adds what that cannot say (heads by name, task, objective). didact's own: `model_type` is
"didact", tensors are called as here and all settings are in the section; for models that no class of transformers
describes, and for `convert`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys, rules
from didact.families import Family, by_name
from didact.heads import EmbeddingHead, Head
from didact.heads import from_json as head_from_json
from didact.heads import to_json as head_to_json
from didact.hub import sentences, weights
from didact.model import Model

OWN = "didact"
VERSION = 1
SECTION: Mapping[str, tuple[type[Any], str]] = {
    "version": (int, f"version {VERSION}"),
    "family": (str, "a family's name"),
    "heads": (dict, "heads by name"),
    "companions": (list, "names of folders inside"),
    **dict.fromkeys(("config", "carried", "task", "objective"), (dict, "an object")),
}
"""what the section holds, each of this type"""
WRITING = ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "eos_token_id", "bad_words_ids")
"""keys of how a model writes, which newer files have in generation_config.json and older ones in config.json"""


@dataclass(frozen=True)
class Checkpoint:
    """folder: where config.json lies; config: it; section: its part "didact", {} where it was not written here;
    native: in didact's own form; model and heads: what it says they are; tensors: as the file calls them.
    """

    folder: Path
    config: Mapping[str, Any]
    section: Mapping[str, Any]
    native: bool
    family: Family
    model: ModelConfig
    heads: Mapping[str, Head]
    tensors: Mapping[str, Tensor]

    @property
    def companions(self) -> tuple[str, ...]:
        """Folders inside this one that hold models trained beside it. Raises InputError for a name that leads out."""
        names = tuple(self.section.get("companions", ()))
        if strange := [n for n in names if not isinstance(n, str) or n in ("", ".", "..") or Path(n).name != n]:
            raise InputError(
                f"companions {strange}", file=self.folder / "config.json", expected="names of folders inside"
            )
        return names

    def ours(self) -> rules.Read:
        """Its tensors by our names: every parameter of its model and heads.

        Raises InputError listing tensors that are unknown, or missing, or of another shape than config.json says.
        """
        shapes = shapes_of(self.model, self.heads)
        file = weights.find(self.folder)
        if self.native:
            given, missing, unused = dict(self.tensors), sorted(shapes.keys() - self.tensors.keys()), ()
            if unknown := sorted(given.keys() - shapes.keys()):
                raise InputError(f"unknown tensors {rules.listed(unknown)}", file=file, expected="the model's")
        else:
            table = self.family.rules(shapes, self.heads, self.model.tied, self.model.gated)
            read = rules.read(self.tensors, self.family.names, table, file)
            given, unused = read.tensors, read.unused
            absent = [rule for rule in table if rule.ours in read.missing]
            given |= {rule.ours: torch.zeros(shapes[rule.ours]) for rule in absent if rule.zeros}
            missing = [theirs for rule in absent if not rule.zeros for theirs in rule.theirs]
        if missing:
            raise InputError(f"no tensors {rules.listed(missing)}", file=file, expected="all that config.json implies")
        for name, tensor in given.items():
            if tensor.shape != shapes[name]:
                raise InputError(
                    f"{name} of shape {tuple(tensor.shape)}",
                    file=file,
                    expected=f"{tuple(shapes[name])} by config.json",
                )
        return rules.Read(given, (), unused)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read a local folder, a sentence-transformers one included. Raises InputError on whatever is wrong with it."""
    if not folder.is_dir():
        raise InputError("a file", file=folder, expected="a model's folder, a run folder or a name on the hub")
    folder, embedding = sentences.read(folder)
    path = folder / "config.json"
    config = weights.read_json(path)
    if (folder / "generation_config.json").is_file():
        writing = weights.read_json(folder / "generation_config.json")
        said = {name: writing[name] for name in WRITING if writing.get(name) is not None}
        config |= {name: value for name, value in said.items() if config.get(name) is None}
    section = _section(config, path)
    native = config.get("model_type") == OWN
    family = by_name(section.get("family") if native else config.get("model_type"), path)
    if not native and "family" in section and (own := by_name(section["family"], path)).model_type == family.name:
        family = own  # one whose checkpoints are another's to others (UniLM's are BERT's)
    tensors = weights.read(folder)
    if native:
        model = keys.config_from_json(section.get("config", {}), path)
        config = section.get("carried", {})
    else:
        model = family.read_config(config, tensors, path)
    if "heads" in section:
        heads = {name: head_from_json(head) for name, head in section["heads"].items()}
    else:
        heads = family.read_heads(config, tensors, path)
    if embedding is not None and not any(isinstance(head, EmbeddingHead) for head in heads.values()):
        heads["embedding"] = embedding
    if any(head.pools(model) for head in heads.values()):
        model = keys.changed(model, {"pooler": True})
    return Checkpoint(folder, config, section, native, family, model, heads, tensors)


def _section(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The part that was written here. Raises InputError where it is of a later version, or was not."""
    section = config.get(OWN, {})
    if not isinstance(section, dict):
        raise InputError(f"didact: found {section!r}", file=path, expected="an object")
    for name, (kind, wanted) in SECTION.items():
        if name in section and not isinstance(section[name], kind):
            raise InputError(f"didact.{name}: found {section[name]!r}", file=path, expected=wanted)
    for name, head in section.get("heads", {}).items():
        if not isinstance(head, dict):
            raise InputError(f"didact.heads.{name}: found {head!r}", file=path, expected="an object")
    if section.get("version", VERSION) > VERSION:
        raise InputError("a section 'didact' of a later version", file=path, expected=f"version {VERSION}")
    return section


def described(
    family: Family,
    model: ModelConfig,
    heads: Mapping[str, Head],
    carried: Mapping[str, Any],
    section: Mapping[str, Any],
    native: bool,
) -> dict[str, Any]:
    """The config.json of such a model. section: its task and objective as JSON, its companions' names. Raises
    InputError where Hugging Face's form cannot say it.
    """
    own = {"version": VERSION, "family": family.name, "heads": {n: head_to_json(h) for n, h in heads.items()}}
    own |= {name: section[name] for name in ("task", "objective", "companions") if section.get(name) is not None}
    kept = {name: value for name, value in carried.items() if name != OWN}
    if native:
        own |= {"config": keys.config_to_json(model), "carried": kept}
        return {"model_type": OWN, OWN: own}
    return family.write_config(model, heads, kept) | {OWN: own}


def theirs(
    family: Family, model: ModelConfig, heads: Mapping[str, Head], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our tensors by Hugging Face's names."""
    table = family.rules(list(tensors), heads, model.tied, model.gated)
    return rules.write(tensors, family.names, table, family.prefixed(heads), model.heads)


def shapes_of(config: ModelConfig, heads: Mapping[str, Head]) -> dict[str, torch.Size]:
    """The shape of every parameter of such a model, without making it."""
    with torch.device("meta"), Undrawn():
        return {name: tensor.shape for name, tensor in Model(config, heads).state_dict().items()}


class Undrawn(TorchFunctionMode):
    """A context in which new weights are not drawn because a file fills them in: most of the time of making a model."""

    DRAWS = frozenset((Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self.DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
