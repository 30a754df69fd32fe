"""Right answers from every form of file; each mistake names its row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from didact.errors import InputError
from didact.tasks.columns import Row
from didact.tasks.references import GAPS, MOVED, SEARCHED, Reference, read_reference

CONTEXT = "The cat sat. The cat slept."
COLUMNS = {"answers": "answers", "answer": "answer", "start": "start", "impossible": "is_impossible"}


def read(record: dict[Any, Any], columns: dict[str, Any] | None = None) -> tuple[Reference | None, Counter[str]]:
    counts: Counter[str] = Counter()
    row = Row(record, columns or COLUMNS, "qa.json", 7)
    return read_reference(row, CONTEXT, "NONE", lambda what: counts.update([what])), counts


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"answers": [{"text": "cat", "answer_start": 4}]}, Reference(("cat",), 4, 7)),
        ({"answers": [{"text": "cat", "answer_start": 17}]}, Reference(("cat",), 17, 20)),
        (
            {"answers": [{"text": "sat", "answer_start": 8}, {"text": "slept", "answer_start": 21}]},
            Reference(("sat", "slept"), 8, 11),
        ),
        ({"answers": {"text": ["cat", "cat"], "answer_start": [4, 17]}}, Reference(("cat",), 4, 7)),
        ({"answers": []}, Reference()),
        ({"answers": {"text": [], "answer_start": []}}, Reference()),
        ({"answers": [{"text": "cat", "answer_start": 4}], "is_impossible": True}, Reference()),
        ({"answer": "cat", "start": "17"}, Reference(("cat",), 17, 20)),
        ({"answer": ""}, Reference()),
        ({"answer": "dog", "start": 4}, None),
        ({"answers": ["dog"]}, None),
    ],
)
def test_forms(record: dict[str, Any], expected: Reference | None) -> None:
    found, counts = read(record)
    assert found == expected
    assert counts[MOVED] == 0


def test_a_moved_answer_is_the_nearest_and_counted() -> None:
    found, counts = read({"answer": "cat", "start": 15})
    assert found == Reference(("cat",), 17, 20)
    assert counts == {MOVED: 1}


def test_an_answer_without_a_place_is_looked_for() -> None:
    assert read({"answers": ["slept"]}) == (Reference(("slept",), 21, 26), {SEARCHED: 1})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("(4, 7)", Reference(("cat",), 4, 7)), ([21, 26], Reference(("slept",), 21, 26)), ("(3, 3)", Reference())],
)
def test_spans(value: Any, expected: Reference) -> None:
    assert read({"s": value}, {"span": "s"})[0] == expected


@pytest.mark.parametrize(
    ("record", "columns", "expected"),
    [
        ({"w": "1 2"}, {"words": "w"}, Reference(("cat sat.",), 4, 12)),
        ({"w": "261:5"}, {"words": "w"}, Reference(("slept.",), 21, 27)),
        ({6: "1", 7: "9:1 2", 8: "9:"}, {"words": (6, 7, 8)}, Reference(("cat", "cat sat."), 4, 7)),
        ({"w": [0]}, {"words": "w"}, Reference(("The",), 0, 3)),
        ({"w": ""}, {"words": "w"}, Reference()),
    ],
)
def test_word_numbers(record: dict[Any, Any], columns: dict[str, Any], expected: Reference) -> None:
    assert read(record, columns)[0] == expected


def test_words_with_a_gap_are_taken_whole() -> None:
    assert read({"w": "0 2"}, {"words": "w"}) == (Reference(("The cat sat.",), 0, 12), {GAPS: 1})


@pytest.mark.parametrize(
    ("record", "columns", "said"),
    [
        ({"context": CONTEXT}, None, "no answer in columns context"),
        ({"answers": {"text": ["a"], "answer_start": []}}, None, "as many of text"),
        ({"answers": [{"text": 3, "answer_start": 0}]}, None, "answer 3"),
        ({"answer": "cat", "start": "x"}, None, "starts at 'x'"),
        ({"s": "(4, 99)"}, {"span": "s"}, "between 0 and 27"),
        ({"s": "(4)"}, {"span": "s"}, "two numbers"),
        ({"w": "77"}, {"words": "w"}, "below 6"),
        ({"w": "one"}, {"words": "w"}, "numbers of words"),
    ],
)
def test_mistakes_name_their_row(record: dict[str, Any], columns: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(InputError, match=r"qa\.json:7") as caught:
        read(record, columns)
    assert said in str(caught.value)


def test_the_mark_of_no_answer_is_no_part_of_the_context() -> None:
    """SubjQA ends every context with it; some spans reach into it."""
    for value, expected in (
        ("(4, 12)", Reference(("cat NONE",), 4, 12)),
        ("(0, 22)", Reference(("The cat NONE cat. ",), 0, 18)),
    ):
        row = Row({"s": value}, {"span": "s"})
        assert read_reference(row, "The cat NONE cat. NONE", "NONE", lambda _: None) == expected
    row = Row({"s": "(18, 22)"}, {"span": "s"})
    assert read_reference(row, "The cat NONE cat. NONE", "NONE", lambda _: None) == Reference()
