"""Generation: what a model writes after a prompt, what it writes into blanks, how likely it thinks a text."""

from __future__ import annotations

from dataclasses import dataclass

from didact.generation.decoding import Decoding
from didact.generation.generate import generate, stream
from didact.generation.likelihood import Likelihood, likelihoods
from didact.generation.mask_predict import mask_predict
from didact.generation.pseudo import pseudo_likelihoods

__all__ = [
    "WRITER",
    "Decoding",
    "Likelihood",
    "generate",
    "likelihoods",
    "mask_predict",
    "pseudo_likelihoods",
    "stream",
]


@dataclass(frozen=True)
class _Writer:
    """What `didact.load` hands to a model."""

    generate = staticmethod(generate)
    stream = staticmethod(stream)


WRITER = _Writer()
