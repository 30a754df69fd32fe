"""What weights have learned with, and their shapes do not tell: another value makes another function of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys

UNTOLD = (
    "core",
    "heads",
    "norms",
    "activation",
    "head_activation",
    "position.scheme",
    "position.distance",
    "position.bidirectional",
    "position.halves",
    "output.scaled",
    "recurrent.residual",
    "characters.longest",
    "characters.activation",
    "decoder.heads",
    "scaled_words",
    "scaled_attention",
)
"""fields of ModelConfig, or whole parts of it; not here: what a model may go on with otherwise (dropout, windows, how
many positions, who sees whom, the base of rotary angles, which ModernBERT makes larger for longer texts)"""


def unlike(
    ours: ModelConfig, theirs: ModelConfig, among: Collection[str] | None = None, besides: Collection[str] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """Field, our value and theirs, where both have it and differ: of all (None), or among these and their parts, and
    not of those `besides`.
    """
    a, b = (dict(_leaves(keys.config_to_json(_said(config)))) for config in (ours, theirs))
    for field in a:
        if field in b and a[field] != b[field] and (among is None or _of(field, among)) and not _of(field, besides):
            yield field, a[field], b[field]


def check_goes_on(config: ModelConfig, found: ModelConfig, name: str, whose: str = "model") -> None:
    """Raises InputError where the weights of `name`, whose configuration is `found`, would be read as they were not
    learned, and hub.load, which goes by their shapes, could not tell. whose: settings it speaks of.
    """
    among = [*UNTOLD, "position.offset"]
    among += ["summary.activation", "summary.norm"] if found.pooler else []
    among += ["layers"] if found.layer_groups else []
    for field, ours, theirs in unlike(config, found, among):
        raise InputError(f"{whose}.{field}: found {ours}", expected=f"{theirs}, with which {name} has learned")


def _of(field: str, parts: Collection[str]) -> bool:
    return any(field == part or field.startswith(f"{part}.") for part in parts)


def _said(config: ModelConfig) -> ModelConfig:
    """With what is left open, where it means what another field says, said."""
    theta = config.position.theta if config.position.local_theta is None else config.position.local_theta
    return replace(
        config,
        head_activation=config.head_activation or config.activation,
        position=replace(config.position, local_theta=theta),
    )


def _leaves(part: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in part.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield before + name, value
