"""What the recipes of several families share."""

from __future__ import annotations

from typing import Any

from didact.errors import InputError
from didact.objectives import Masked
from didact.tokenization.tokenizer import Tokenizer


def masked(tokenizer: Tokenizer, **fields: Any) -> Masked:
    """Masked words as this tokenizer has them; fields: of `Masked`. Raises InputError where it has no mask token."""
    if tokenizer.mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK] or <mask>")
    return Masked(tokenizer.mask, tokenizer.vocabulary, tokenizer.special_ids, **fields)
