"""From the log-probabilities of words to the scores of answers, by several rules; and how far their confidence goes.

    sum         log p(answer | prompt) (Brown et al., 2020, §2.4)
    tokens      the same, divided by its tokens
    characters  the same, divided by its characters (lm-evaluation-harness's `acc_norm`)
    pmi         less log p(answer | domain): answers that are likely anywhere gain nothing (domain-conditional PMI:
                Holtzman et al., 2021, §3)
    calibrated  less the log-probability of the answer where the same prompt asks about nothing, averaged over inputs
                without content (contextual calibration: Zhao et al., 2021, §5)

An answer that several words may stand for has the logarithm of the mean of their probabilities. What follows an answer
and is scored with it (`Scored.follows`) belongs to all of them alike: it is added whole, whatever the answer's length.

Shapes: c answers of a question, e inputs without content, n questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from didact.evaluation.fewshot.task import Scoring
from didact.generation.score import Scored

Floats = NDArray[np.float64]


def plain(words: Sequence[Sequence[str]], scored: Sequence[Scored], rule: Scoring = "sum") -> Floats:
    """words: of each of c answers; scored: of all of them, in order -> (c,), by "sum", "tokens" or "characters"."""
    lengths = {
        "sum": [1.0 for _ in scored],
        "tokens": [float(s.tokens) for s in scored],
        "characters": [float(len(word)) for own in words for word in own],
    }[rule]
    return over_words(words, [s.own / length + s.follows for s, length in zip(scored, lengths, strict=True)])


def pmi(words: Sequence[Sequence[str]], scored: Sequence[Scored], domain: Sequence[float]) -> Floats:
    """domain: log p of each word where nothing but the domain is said -> (c,)."""
    return over_words(words, [s.total - known for s, known in zip(scored, domain, strict=True)])


def calibrated(sums: Floats, empty: Sequence[Floats]) -> Floats:
    """sums (c,): of the question; empty: of each of e inputs without content, (c,) -> (c,): W = diag(p)^-1, b = 0."""
    believed = [own - np.logaddexp.reduce(own) for own in empty]  # in logarithms: a long answer's share may be e^-800
    return sums - (np.logaddexp.reduce(believed, axis=0) - np.log(len(believed)))


def over_words(words: Sequence[Sequence[str]], values: Sequence[float]) -> Floats:
    """The logarithm of the mean of exp(values) of each answer's words: (c,)."""
    cuts = np.cumsum([len(own) for own in words])[:-1]
    parts = np.split(np.asarray(values, np.float64), cuts)
    return np.array([np.logaddexp.reduce(part) - np.log(len(part)) for part in parts])


def shares(scores: Floats) -> Floats:
    """The softmax of scores (c,): what the model's belief is among the answers."""
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


def calibration_error(confidence: Floats, right: Floats, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017, §2): the distance between mean confidence and accuracy, in bins of
    equal width, weighted by how many questions each holds. confidence (n,): share of the chosen answer; right (n,).
    """
    which = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    sums = [np.bincount(which, weights=values, minlength=bins) for values in (confidence, right.astype(np.float64))]
    return float(np.abs(sums[0] - sums[1]).sum() / len(confidence))
