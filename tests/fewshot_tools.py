"""What the tests of in-context learning share: small random models that say clearly different things."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from didact.exchange import keys
from didact.families import BART, BERT, GPT2
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.tokenization.train import train

CORPUS = [
    "Review: a fine film. Sentiment: good. Review: a dull film. Sentiment: bad or very bad. " * 5,
    "the cat sat on the mat. is it true? yes, no, maybe. N/A answer: it was great, it was awful.",
]
SMALL: dict[str, Any] = {"width": 24, "layers": 2, "heads": 3, "feedforward": 96, "pooler": False}


@cache
def gpt(maximum: int = 128, seed: int = 0) -> Pretrained:
    """Causal, byte-level pieces."""
    return _made(GPT2, "gpt2", 330, maximum, seed)


@cache
def bert(maximum: int = 128, seed: int = 0) -> Pretrained:
    """Masked, WordPiece."""
    return _made(BERT, "wordpiece", 90, maximum, seed)


@cache
def bart(maximum: int = 128, seed: int = 0) -> Pretrained:
    """An encoder and a decoder, WordPiece."""
    return _made(BART, "wordpiece", 90, maximum, seed, {"decoder": {"layers": 2, "heads": 3, "feedforward": 96}})


def _made(family: Any, kind: Any, size: int, maximum: int, seed: int, more: dict[str, Any] | None = None) -> Pretrained:
    tokenizer, _ = train(CORPUS, kind, size, cased=True)
    base = family.base_for(tokenizer)
    config = keys.changed(base, SMALL | {"position.maximum": maximum, "init_std": 0.3} | (more or {}))
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(seed)).eval()
    return Pretrained(model, tokenizer, family.name)
