"""Answer scores against the official scripts' formulas, written again here step by step."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from nltk.tokenize import NLTKWordTokenizer

from didact.tasks import squad

PAIRS = [
    ("Marie Curie", "marie curie"),
    ("the Marie Curie", "Curie, Marie"),
    ("a", "the"),
    ("", ""),
    ("", "Paris"),
    ("Paris", ""),
    ("U.S.A.", "usa"),
    ("in the an an-hour", "an hour"),
    ("the the cat cat", "cat cat cat"),
    ("3.50", "350"),
    ("naïve  café", "Naïve café"),
]
CHINESE = [
    ("李教授", "李教授"),
    ("由李教授领导", "李教授"),
    ("《红楼梦》", "红楼梦"),
    ("1998年6月", "1998年"),
    ("iPhone 6 Plus，黑色", "iphone 6黑色"),
    ("约3.5亿美元", "3.5亿"),
    ("北京、上海", "上海、北京"),
    ("大约", "不到"),
    ("ABC大学（北京）", "abc大学"),
    ("……是的", "是的"),
    ("iPhone 6s,7 (a.b), 1,000元!", "iphone 6s 1,000"),
]


def normalize_answer(s: str) -> str:
    """evaluate-v1.1.py"""
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def compute_f1(gold: str, predicted: str) -> float:
    """evaluate-v2.0.py"""
    a, b = normalize_answer(gold).split(), normalize_answer(predicted).split()
    same = sum((Counter(a) & Counter(b)).values())
    if len(a) == 0 or len(b) == 0:
        return int(a == b)
    if same == 0:
        return 0
    precision, recall = same / len(b), same / len(a)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("predicted", "gold"), PAIRS)
def test_squad(predicted: str, gold: str) -> None:
    assert squad.squad_exact(predicted, gold) == (normalize_answer(gold) == normalize_answer(predicted))
    assert squad.squad_f1(predicted, gold) == pytest.approx(compute_f1(gold, predicted))


MARKS = [
    "-",
    ":",
    "_",
    "*",
    "^",
    "/",
    "\\",
    "~",
    "`",
    "+",
    "=",
    "，",
    "。",
    "：",
    "？",
    "！",
    "“",
    "”",
    "；",
    "’",
    "《",
    "》",
]
MARKS += ["……", "·", "、", "「", "」", "（", "）", "－", "～", "『", "』"]


def mixed_segmentation(text: str) -> list[str]:
    """cmrc2018_evaluate.py, with rm_punc=True"""
    found: list[str] = []
    rest = ""
    for char in text.lower().strip():
        if char in MARKS:
            continue
        if re.search(r"[\u4e00-\u9fa5]", char):
            if rest != "":
                found.extend(NLTKWordTokenizer().tokenize(rest))
                rest = ""
            found.append(char)
        else:
            rest += char
    if rest != "":
        found.extend(NLTKWordTokenizer().tokenize(rest))
    return found


def find_lcs(a: list[str], b: list[str]) -> int:
    best = 0
    for i in range(len(a)):
        for j in range(len(b)):
            k = 0
            while i + k < len(a) and j + k < len(b) and a[i + k] == b[j + k]:
                k += 1
            best = max(best, k)
    return best


@pytest.mark.parametrize(("predicted", "gold"), CHINESE + [p for p in PAIRS if p[0] and p[1] and "." not in p[0]])
def test_cmrc(predicted: str, gold: str) -> None:
    a, b = mixed_segmentation(gold), mixed_segmentation(predicted)
    common = find_lcs(a, b)
    f1 = 0.0 if common == 0 else 2 * (common / len(b)) * (common / len(a)) / (common / len(b) + common / len(a))
    assert squad.cmrc_f1(predicted, gold) == pytest.approx(f1)
    strip = lambda s: "".join(c for c in s.lower().strip() if c not in MARKS)  # noqa: E731
    assert squad.cmrc_exact(predicted, gold) == (strip(predicted) == strip(gold))


def test_scores_of_a_set() -> None:
    """evaluate-v2.0.py: over all, over those with an answer, over those without; best of several references."""
    gold = [("Marie Curie", "Curie"), (), ("1903",), ()]
    predicted = ["curie", "", "", "Paris"]
    found = {m.name: m(predicted, gold) for m in squad.metrics("squad", True)}
    assert found == {
        "f1": 0.5,
        "exact": 0.5,
        "has_answer_f1": 0.5,
        "has_answer_exact": 0.5,
        "no_answer_accuracy": 0.5,
    }
    assert [m.name for m in squad.metrics("cmrc", False)] == ["f1", "exact"]


def test_references_that_normalise_to_nothing() -> None:
    assert squad.references(["the", "cat"], squad.SQUAD) == ["cat"]
    assert squad.references(["the"], squad.SQUAD) == [""]
    assert squad.references([], squad.CMRC) == [""]
