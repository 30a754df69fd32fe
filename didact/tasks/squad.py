"""Scores of answers in text: SQuAD's exact match and token F1 (Rajpurkar et al., 2016, §6.1; 2018, §5), and their
Chinese variant (CMRC 2018: Cui et al., 2019, §4.1).

Both compare normalised answers and keep the best over a question's reference answers; a question without an answer has
the one reference "". They differ in what they drop and in what F1 counts: SQuAD the words two answers share in any
order, CMRC (and DRCD, by the same script) the longest run of characters that they share.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from didact.tasks.metrics import Floats, Metric, ratio, summed

# evaluate-v1.1.py and evaluate-v2.0.py: lower case, ASCII punctuation and English articles away, single spaces.
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

# cmrc2018_evaluate.py: what it calls sp_char (its entry of two characters, "……", can never match one character).
_CHINESE_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")
# The script splits what is not Chinese with nltk.word_tokenize. This is that for words, numbers and ASCII marks; it
# parts from it on English contractions alone ("don't" is one word here, two there).
_WORD = re.compile(r"(?:[^\s!-/:-@\[-`{-~]|[.'](?=\w)|,(?=\d))+|[!-/:-@\[-`{-~]")


def squad_normalise(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def squad_f1(predicted: str, reference: str) -> float:
    """F1 of the bags of words; where either has no word left, 1 if neither has."""
    a, b = squad_normalise(predicted).split(), squad_normalise(reference).split()
    if not a or not b:
        return float(a == b)
    return _f1(sum((Counter(a) & Counter(b)).values()), len(a), len(b))


def squad_exact(predicted: str, reference: str) -> float:
    return float(squad_normalise(predicted) == squad_normalise(reference))


def cmrc_normalise(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _CHINESE_PUNCTUATION)


def cmrc_segments(text: str) -> list[str]:
    """Chinese by character, the rest by word; Chinese punctuation is dropped first (what it stood between joins)."""
    pieces: list[str] = []
    rest = ""
    for c in cmrc_normalise(text):
        if _HAN.match(c):
            pieces += [*_WORD.findall(rest), c]
            rest = ""
        else:
            rest += c
    return pieces + _WORD.findall(rest)


def cmrc_f1(predicted: str, reference: str) -> float:
    """F1 of the longest common run of segments; like SQuAD's where either is empty (the script never meets that)."""
    a, b = cmrc_segments(predicted), cmrc_segments(reference)
    if not a or not b:
        return float(a == b)
    return _f1(longest_run(a, b), len(a), len(b))


def cmrc_exact(predicted: str, reference: str) -> float:
    return float(cmrc_normalise(predicted) == cmrc_normalise(reference))


def longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest run of items that both hold, in order and without gaps."""
    best, above = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0] * (len(b) + 1)
        for j, y in enumerate(b):
            if x == y:
                row[j + 1] = above[j] + 1
                best = max(best, row[j + 1])
        above = row
    return best


def _f1(common: int, predicted: int, reference: int) -> float:
    return 2 * common / (predicted + reference)


@dataclass(frozen=True)
class AnswerScore:
    """How two answers are compared: exact and f1, each (predicted, reference) -> 0 … 1."""

    exact: Callable[[str, str], float]
    f1: Callable[[str, str], float]


SQUAD = AnswerScore(squad_exact, squad_f1)
CMRC = AnswerScore(cmrc_exact, cmrc_f1)
SCORES: dict[str, AnswerScore] = {"squad": SQUAD, "cmrc": CMRC}


def best(compare: Callable[[str, str], float], predicted: str, references: Sequence[str]) -> float:
    """The best comparison over the references; of none ("no answer"), with ""."""
    return max(compare(predicted, reference) for reference in references or ("",))


def references(answers: Sequence[str], score: AnswerScore) -> list[str]:
    """What SQuAD 2.0's script compares with: answers that normalise to nothing do not count, unless all do."""
    kept = [text for text in answers if score is not SQUAD or squad_normalise(text)]
    return kept or [""]


def metrics(name: str, nullable: bool) -> tuple[Metric, ...]:
    """f1 and exact; where questions may have no answer, also of the questions with (has_answer_…) and without
    (no_answer_…) one, as evaluate-v2.0.py names them.
    """
    score = SCORES[name]

    def metric(title: str, compare: Callable[[str, str], float], of: Callable[[Sequence[str]], bool]) -> Metric:
        def units(predicted: Sequence[str], gold: Sequence[Sequence[str]]) -> Floats:
            rows = [
                [best(compare, p, references(g, score)), 1.0] if of(g) else [0.0, 0.0]
                for p, g in zip(predicted, gold, strict=True)
            ]
            return np.array(rows).reshape(-1, 2)

        return Metric(title, units, summed(ratio))

    all_questions = [metric("f1", score.f1, lambda _: True), metric("exact", score.exact, lambda _: True)]
    if not nullable:
        return tuple(all_questions)
    return (
        *all_questions,
        metric("has_answer_f1", score.f1, bool),
        metric("has_answer_exact", score.exact, bool),
        metric("no_answer_accuracy", score.exact, lambda g: not g),
    )
