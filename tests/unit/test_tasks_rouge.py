"""didact.tasks.rouge: the figures of rouge-score, its ties and lines included; words of every script."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from rouge_score.rouge_scorer import RougeScorer

from didact.errors import InputError
from didact.tasks.rouge import any_script, english, rouge

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def texts(seed: int) -> tuple[str, str]:
    """A text and a reference of some lines of few different words, so that there are ties and repetitions."""
    rng = random.Random(seed)
    vocabulary = ["the", "The", "cat", "sat", "on", "mat,", "café", "it's", "3.5", "—"][: rng.randint(2, 10)]

    def text() -> str:
        lines = [" ".join(rng.choices(vocabulary, k=rng.randint(0, 7))) for _ in range(rng.randint(1, 4))]
        return "\n".join(lines)

    return text(), "the " + text()


@pytest.mark.parametrize("kind", KINDS)
def test_as_rouge_score(kind: str) -> None:
    scorer = RougeScorer([kind])
    metric = rouge(kind)  # type: ignore[arg-type]
    cases = [texts(seed) for seed in range(400)]
    wanted = [scorer.score(right, text)[kind].fmeasure for text, right in cases]
    assert 0 < sum(value == 0 for value in wanted) < 300
    for (text, right), value in zip(cases, wanted, strict=True):
        assert metric([text], [(right,)]) == pytest.approx(value, abs=1e-12), (text, right)
    several = [(right, other) for (_, right), (_, other) in pairwise(cases)]
    for (text, _), rights in zip(cases, several, strict=False):
        best = scorer.score_multi(rights, text)[kind].fmeasure
        assert metric([text], [rights]) == pytest.approx(best, abs=1e-12)
    mean = metric([text for text, _ in cases], [(right,) for _, right in cases])
    assert mean == pytest.approx(sum(wanted) / len(wanted))


def test_words() -> None:
    assert english("The café, it's 3.5!") == ["the", "caf", "it", "s", "3", "5"]
    assert any_script("The café, it's 3.5!") == ["the", "café", "it", "s", "3", "5"]
    assert any_script("我在2024年ok嗎") == ["我", "在", "2024", "年", "ok", "嗎"]
    assert any_script("cafe\u0301") == any_script("café") == ["café"]


def test_other_scripts_are_not_silently_nothing() -> None:
    with pytest.raises(InputError, match="rouge_words: any"):
        rouge("rouge1")(["我走了"], [("我走了",)])
    assert rouge("rougeL", "any")(["我走了"], [("我走吧",)]) == pytest.approx(2 / 3)
