"""The families: one file each, named in one tuple."""

from __future__ import annotations

from didact.errors import InputError
from didact.families.albert import ALBERT
from didact.families.bart import BART
from didact.families.base import Architecture, Family
from didact.families.bert import BERT
from didact.families.deberta_v2 import DEBERTA_V2
from didact.families.distilbert import DISTILBERT
from didact.families.electra import ELECTRA
from didact.families.elmo import ELMO
from didact.families.gpt2 import GPT2
from didact.families.mass import MASS
from didact.families.mbart import MBART
from didact.families.modernbert import MODERNBERT
from didact.families.openai_gpt import OPENAI_GPT
from didact.families.roberta import ROBERTA, XLM_ROBERTA
from didact.families.t5 import MT5, T5
from didact.families.transformer import TRANSFORMER
from didact.families.unilm import UNILM
from didact.families.xlnet import XLNET

FAMILIES: tuple[Family, ...] = (
    BERT,
    ROBERTA,
    XLM_ROBERTA,
    ALBERT,
    DISTILBERT,
    ELECTRA,
    DEBERTA_V2,
    XLNET,
    UNILM,
    MODERNBERT,
    GPT2,
    OPENAI_GPT,
    ELMO,
    TRANSFORMER,
    BART,
    MBART,
    MASS,
    T5,
    MT5,
)

__all__ = [
    "ALBERT",
    "BART",
    "BERT",
    "DEBERTA_V2",
    "DISTILBERT",
    "ELECTRA",
    "ELMO",
    "FAMILIES",
    "GPT2",
    "MASS",
    "MBART",
    "MODERNBERT",
    "MT5",
    "OPENAI_GPT",
    "ROBERTA",
    "T5",
    "TRANSFORMER",
    "UNILM",
    "XLM_ROBERTA",
    "XLNET",
    "Architecture",
    "Family",
    "by_name",
]


def by_name(name: object, file: object = None) -> Family:
    """The family of this name, or else the first with this `model_type`. Raises InputError."""
    for family in FAMILIES:
        if family.name == name:
            return family
    for family in FAMILIES:
        if family.model_type is not None and family.model_type == name:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise InputError(f"model_type {name!r}", file=None if file is None else str(file), expected=f"one of {known}")
