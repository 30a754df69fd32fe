"""In-context learning: a task put to a model by examples in its input alone (Brown et al., 2020, §2)."""

from didact.evaluation.fewshot.ask import Asking, Found, Trial, floors, summary
from didact.evaluation.fewshot.draw import Pool
from didact.evaluation.fewshot.readers import reader_of
from didact.evaluation.fewshot.task import SCORINGS, Case, Draw, Fewshot, Scoring, Writes, cases
from didact.evaluation.fewshot.template import Template

__all__ = [
    "SCORINGS",
    "Asking",
    "Case",
    "Draw",
    "Fewshot",
    "Found",
    "Pool",
    "Scoring",
    "Template",
    "Trial",
    "Writes",
    "cases",
    "floors",
    "reader_of",
    "summary",
]
