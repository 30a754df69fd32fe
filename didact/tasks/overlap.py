"""BLEU (Papineni et al., 2002) and chrF (Popović, 2015; chrF++: 2017), as sacrebleu counts them (Post, 2018).

sacrebleu's own counts of each text are kept, and its own formula is put to their sums: the score of the whole set is
`corpus_score`'s to the last bit, and that of a resample costs one sum more. (Its significance tests work so.)

Shapes: n texts, k counts of each, R weightings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from didact.errors import InputError
from didact.tasks.metrics import Floats, Metric

TOKENS = ("13a", "intl", "zh", "char", "none")
"""what BLEU's words are, of sacrebleu's tokenizers those that need no other library"""


def bleu(tokens: str = "13a", lowercase: bool = False) -> Metric:
    """Corpus BLEU of up to four words, "exp" smoothing; a share of 1. tokens: one of TOKENS; "zh" or "char" for
    languages that write no spaces.

    Raises InputError on another name of tokens.
    """
    from sacrebleu.metrics.bleu import BLEU

    if tokens not in TOKENS:
        raise InputError(f"BLEU's tokens {tokens!r}", expected=f"one of {', '.join(TOKENS)}")
    return _metric("bleu", BLEU(tokenize=tokens, lowercase=lowercase, force=True), 10)


def chrf(words: int = 0) -> Metric:
    """Corpus chrF2 of up to six characters; words: and of so many words (2: chrF++). A share of 1."""
    from sacrebleu.metrics.chrf import CHRF

    return _metric("chrf++" if words else "chrf", CHRF(word_order=words), 3 * (6 + words))


def _metric(name: str, counting: Any, k: int) -> Metric:
    def units(predicted: Sequence[str], gold: Sequence[Sequence[str]]) -> Floats:
        if not len(predicted):
            return np.zeros((0, k))
        streams = list(zip_longest(*gold))  # one a reference; None where a text has fewer
        return np.array(counting._extract_corpus_statistics(list(predicted), streams), np.float64)

    def over(units: Floats, weights: Floats) -> Floats:
        if not len(units):
            return np.full(len(weights), np.nan)
        return np.array([counting._compute_score_from_stats(sums.tolist()).score / 100 for sums in weights @ units])

    counting.corpus_score(["a"], [["a"]])  # the signature wants a score first
    signature = str(counting.get_signature()).replace("nrefs:1|", "")  # how many there are is the file's affair
    return Metric(name, units, over, signature=f"{name}|{signature}")
