from __future__ import annotations

import pytest

from didact.tokenization.report import peak_memory
from didact.tokenization.train import train


def test_what_a_report_counts() -> None:
    texts = ["ab ab ab ab ab ab cd, cd. xyz"]
    _, report = train(texts, "char", 60)
    # words with letters: ab x 6, cd x 2, xyz; pieces: 12 + 4 + 3
    assert report.fertility == pytest.approx(19 / 9)
    assert report.bytes_per_token == pytest.approx(1)
    assert (report.coverage, report.unknown) == (1, 0)
    assert report.cut_words == (("ab", 6, ("a", "b")), ("cd", 2, ("c", "d")), ("xyz", 1, ("x", "y", "z")))
    assert (report.kind, report.texts, report.of_texts) == ("WordLevel", 1, 1)
    assert report.size == report.of_size == len(texts[0])


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_whole_words_are_not_listed(kind: str) -> None:
    _, report = train(["walk, talk; walk talk " * 20], kind, 300)
    assert report.cut_words == ()
    assert report.fertility == 1
    assert "not one piece" not in str(report)


def test_a_report_is_readable() -> None:
    _, report = train(["walking and talking, painting and jumping " * 3], "char", 60)
    shown = str(report)
    assert "fertility" in shown
    assert "walking" in shown
    assert all(len(line) <= 120 for line in shown.splitlines())


def test_peak_memory() -> None:
    peak = peak_memory()
    assert peak is None or peak > 1 << 20
