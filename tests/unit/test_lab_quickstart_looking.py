"""A look inside: blanks from held-out sentences, and the entropy of counted words against a sum written out."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_tools import small_store
from fewshot_tools import bart, bert

from didact.data.stored import SplitName
from didact.errors import InputError
from didact.lab.quickstart.looking import ASKED, BLANK, FROM_TEXTS, blanks_filled, held_out, unigram_nats

WORDS = "array matrix number graph nodes edges value other every index"


def texts(folder: Path, lines: list[str]) -> Path:
    file = folder / "test.jsonl"
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return file


def test_a_blank_is_a_whole_lower_case_word_and_what_stood_there_is_kept(tmp_path: Path) -> None:
    sentence = "The array of every number is not an index of the graph. Another one follows here."
    ((text, truth),) = held_out(texts(tmp_path, [sentence]), set(WORDS.split()))
    assert truth in {"array", "every", "number", "index"}
    assert text == f"{sentence.split('. ')[0]}.".replace(truth, BLANK, 1)
    assert text.count(BLANK) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "The array is short.",
        "the array of every number is not an index of the graph.",
        "The array of every number is not an index of the graph",
        "The unknown words of this one are no whole pieces at all.",
        "The " + "array " * 20 + "is much too long.",
    ],
    ids=["short", "no capital", "no end", "no word of the vocabulary", "long"],
)
def test_what_makes_no_blank(tmp_path: Path, sentence: str) -> None:
    assert held_out(texts(tmp_path, [sentence]), set(WORDS.split())) == []


def test_the_choice_hangs_on_the_texts_alone(tmp_path: Path) -> None:
    lines = [f"The array of every number {i} is not an index of the graph." for i in range(40)]
    chosen = held_out(texts(tmp_path, lines), set(WORDS.split()))
    assert len(chosen) == FROM_TEXTS
    assert held_out(texts(tmp_path, lines[::-1]), set(WORDS.split())) == chosen


def test_everyone_is_asked_one_blank() -> None:
    assert all(text.count(BLANK) == 1 for text in ASKED)


def test_a_model_is_asked_with_its_own_blank(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a model with a decoder writes the whole text anew"):
        blanks_filled(bart(), tmp_path / "absent.jsonl")
    own = bert()
    asked: list[str] = []

    class Renamed:
        """A model whose mask is written in another way."""

        tokenizer = SimpleNamespace(mask=4, vocabulary=9, tokens=lambda ids: [f"<{i}>" for i in ids])

        def fill(self, text: str, top: int) -> Any:
            asked.append(text)
            return own.fill(text.replace("<4>", "[MASK]"), top)

    found = blanks_filled(Renamed(), texts(tmp_path, []))  # type: ignore[arg-type]
    assert [f["text"] for f in found] == list(ASKED)
    assert asked == [text.replace(BLANK, "<4>") for text in ASKED]
    assert all(len(f["top"]) == 5 for f in found)


def test_unigram_entropy_is_that_of_the_counts(tmp_path: Path) -> None:
    store = small_store(tmp_path, count=80)

    splits: tuple[SplitName, ...] = ("train", "validation")
    counts: dict[str, Counter[int]] = {}
    for split in splits:
        counts[split] = Counter()
        for number in store.split(split).tolist():
            counts[split].update(store.read(*store.document(number)).tokens.tolist())
    total = sum(counts["train"].values()) + store.tokenizer.vocabulary
    nats = sum(n * -math.log((counts["train"][t] + 1) / total) for t, n in counts["validation"].items())
    assert unigram_nats(store) == pytest.approx(nats / sum(counts["validation"].values()))
