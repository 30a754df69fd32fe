"""Generation: what a model writes after a prompt and into blanks, and how likely it finds what others wrote."""

from __future__ import annotations

from dataclasses import dataclass

from didact.generation.decoding import Decoding
from didact.generation.generate import generate, generate_tokens, stream
from didact.generation.mask_predict import mask_predict
from didact.generation.masked import pseudo
from didact.generation.score import Scored, score

__all__ = ["WRITER", "Decoding", "Scored", "generate", "generate_tokens", "mask_predict", "pseudo", "score", "stream"]


@dataclass(frozen=True)
class _Writer:
    """What `didact.load` hands to a model."""

    generate = staticmethod(generate)
    generate_tokens = staticmethod(generate_tokens)
    stream = staticmethod(stream)


WRITER = _Writer()
