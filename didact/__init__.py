"""didact: BERT and its family, end to end.

`import didact` is light: torch and the rest come in with the first `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from didact.heads import Head
    from didact.model import Pretrained

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(name: str | Path, heads: Mapping[str, Head] | None = None) -> Pretrained:
    """A model with its tokenizer: `didact.load("runs/quickstart/pretrain").embed(["a text"])`.

    name: a run folder, a checkpoint, a Hugging Face folder or hub name, a sentence-transformers folder, or the model
    that comes with didact, "small-en". heads: those that are asked for, instead of those the checkpoint has. Everything
    else is said at `didact.hub.load`.
    """
    from dataclasses import replace

    from didact import generation, hub

    return replace(hub.load(name, heads), writer=generation.WRITER)
