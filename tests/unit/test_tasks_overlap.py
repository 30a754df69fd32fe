"""didact.tasks.overlap: BLEU and chrF are sacrebleu's, of the whole set and of resamples written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from didact.errors import InputError
from didact.evaluation.intervals import difference, interval
from didact.tasks.metrics import Metric
from didact.tasks.overlap import TOKENS, bleu, chrf

WRITTEN = ["The cat sat on the mat .", "", "a dog, and a cat!", "他們走了。 done", "one two three four five six"]
RIGHT = ["The cat sat on a mat.", "nothing here", "A dog and a cat!", "他们走了。 Done", "one two three four six five"]
SECOND = ["A cat was sitting on the mat.", None, None, "他們走掉了。", "one two three"]
GOLD = [(a,) if b is None else (a, b) for a, b in zip(RIGHT, SECOND, strict=True)]
CASES: list[tuple[Metric, Any]] = [
    *((bleu(tokens), BLEU(tokenize=tokens, force=True)) for tokens in TOKENS),
    (bleu(lowercase=True), BLEU(lowercase=True, force=True)),
    (chrf(), CHRF()),
    (chrf(words=2), CHRF(word_order=2)),
]
EVERY = pytest.mark.parametrize(("metric", "theirs"), CASES, ids=[m.signature for m, _ in CASES])


@EVERY
def test_of_the_whole_set_and_of_resamples(metric: Metric, theirs: Any) -> None:
    assert metric(WRITTEN, GOLD) == pytest.approx(theirs.corpus_score(WRITTEN, [RIGHT, SECOND]).score / 100, abs=1e-12)
    units = metric.units(WRITTEN, GOLD)
    rng = np.random.default_rng(0)
    for _ in range(12):
        drawn = rng.integers(len(WRITTEN), size=len(WRITTEN))
        weights = np.bincount(drawn, minlength=len(WRITTEN)).astype(float)[None]
        some = [[stream[i] for i in drawn] for stream in (RIGHT, SECOND)]
        wanted = theirs.corpus_score([WRITTEN[i] for i in drawn], some).score / 100
        assert metric.over(units, weights)[0] == pytest.approx(wanted, abs=1e-12)


@EVERY
def test_the_signature_is_theirs(metric: Metric, theirs: Any) -> None:
    theirs.corpus_score(["a"], [["a"]])
    assert metric.signature.partition("|")[2] == str(theirs.get_signature()).replace("nrefs:1|", "")


def test_intervals_are_pairwise() -> None:
    """Of a system against itself the difference is nothing; against a worse one it is their scores'."""
    metric = bleu()
    gold = GOLD * 8
    good, bad = WRITTEN * 8, [text[:-4] for text in WRITTEN] * 8
    a, b = metric.units(good, gold), metric.units(bad, gold)
    assert difference(metric, a, a, resamples=50).high == 0
    found = difference(metric, a, b, resamples=200)
    assert found.value == pytest.approx(metric(good, gold) - metric(bad, gold))
    assert found.low <= found.value <= found.high
    assert interval(metric, a, resamples=200).low < metric(good, gold)


def test_nothing_to_score() -> None:
    assert np.isnan(bleu()([], []))
    assert np.isnan(chrf()([], []))


def test_an_unknown_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="one of 13a"):
        bleu("spm")
