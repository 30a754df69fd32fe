"""UniLM (Dong et al., 2019): BERT, pre-trained to be read in one direction, in the other, in both, and to write.

transformers has no class of its own for it: its checkpoints are BERT's, with six segments, and open there as such. What
a class of transformers then computes is the bidirectional reading; the others need its 4-dimensional attention mask.
"""

from __future__ import annotations

from dataclasses import replace

from didact.errors import InputError
from didact.families.base import Family
from didact.families.bert import BERT
from didact.objectives import Objective, UniLM
from didact.tokenization.tokenizer import Tokenizer


def recipe(tokenizer: Tokenizer) -> Objective:
    """A third of the examples bidirectional, with next sentence, a third sequence to sequence, a sixth in each
    direction (§2.4); 15 % hidden.
    """
    if tokenizer.mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK]")
    return UniLM(tokenizer.mask, tokenizer.vocabulary, tokenizer.special_ids)


UNILM = Family(
    name="unilm",
    model_type="bert",
    base=replace(BERT.base, segments=6),
    keys=BERT.keys,
    names=BERT.names,
    architectures=BERT.architectures,
    tokenizer="wordpiece",
    recipe=recipe,
    sources=("Dong et al., 2019, arXiv:1905.03197", "github.com/microsoft/unilm"),
)
