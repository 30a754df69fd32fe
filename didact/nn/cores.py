"""The cores, named in one tuple:

    transformer    layers of attention, which see by the rule that comes with the batch
    recurrent      two stacks of LSTMs, one reading to the right, one to the left (ELMo; Peters et al., 2018)
    opposed        two stacks of attention, one looking to the left, one to the right (Devlin et al., 2019, §5.1)

A configuration says which one it is of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from didact.config import ModelConfig
from didact.nn import opposed, recurrent, transformer
from didact.nn.core import Core


@dataclass(frozen=True)
class Entry:
    """A core's name (`ModelConfig.core`); how it is built, its weights drawn with a generator; streams: what it gives,
    and the rule that each sees by ("causal"), None = the one that comes with the batch.
    """

    name: str
    build: Callable[[ModelConfig, torch.Generator | None], Core]
    streams: Mapping[str, str | None]


_OPPOSITE = {"main": "bidirectional", "forward": "causal", "backward": "right to left"}
CORES: tuple[Entry, ...] = (
    Entry("transformer", transformer.build, {"main": None}),
    Entry("recurrent", recurrent.build, _OPPOSITE),
    Entry("opposed", opposed.build, _OPPOSITE),
)


def build(config: ModelConfig, generator: torch.Generator | None = None) -> Core:
    """The core of `config`."""
    return entry(config.core).build(config, generator)


def entry(name: str) -> Entry:
    """The core of this name; ValueError lists the cores there are."""
    for one in CORES:
        if one.name == name:
            return one
    raise ValueError(f"no core {name!r}; there are {', '.join(e.name for e in CORES)}")
