"""Fields from columns, and complaints that say which row and which columns there are."""

from __future__ import annotations

from typing import Any

import pytest

from didact.errors import InputError
from didact.tasks.columns import Row, rows

MAPPING = {"text": "sentence", "label": 3, "choices": ("a", "b")}


def row(**record: Any) -> Row:
    return Row(record, {name: name for name in ("text", "tags", "label")}, "f.tsv", 4)


def test_names_numbers_and_several_columns() -> None:
    (only,) = rows([{"sentence": "hi", 3: 1, "a": "x", "b": "y"}], MAPPING)
    assert (only.text("text"), only.text("label"), only.value("choices")) == ("hi", "1", ["x", "y"])
    assert only.number == 1
    assert only.has("choices")
    assert not only.has("id")


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [("a b  c", None, ["a", "b", "c"]), ("a, b,,c", ",", ["a", "b", "c"]), (["a", 1], None, ["a", "1"]), ("", ",", [])],
)
def test_lists(value: Any, separator: str | None, expected: list[str]) -> None:
    assert row(tags=value).texts("tags", separator) == expected


@pytest.mark.parametrize(("value", "expected"), [("1.5", 1.5), (2, 2.0), ("-3e1", -30.0)])
def test_numbers(value: Any, expected: float) -> None:
    assert row(label=value).number_of("label") == expected


@pytest.mark.parametrize("value", ["x", None, "", "nan", "inf", [1]])
def test_not_a_number(value: Any) -> None:
    with pytest.raises(InputError, match=r"f\.tsv:4"):
        row(label=value).number_of("label")


def test_a_missing_column_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"f\.tsv:4: columns sentence, label; expected 'text' for the text"):
        row(sentence="x", label=1).text("text")


def test_an_empty_field_is_not_a_missing_column() -> None:
    with pytest.raises(InputError, match="nothing in column 'text'"):
        row(text=None).text("text")


def test_not_text() -> None:
    with pytest.raises(InputError, match="expected text"):
        row(text=["a"]).text("text")
    with pytest.raises(InputError, match="a list of texts"):
        row(tags=[["a"]]).texts("tags")


def test_records_that_are_not() -> None:
    with pytest.raises(InputError, match=r"records:2: found .b.; expected a record with text"):
        list(rows([{"text": "a"}, "b"], {"text": "text"}))  # type: ignore[list-item]


def test_records_to_be_predicted_may_use_the_fields_names() -> None:
    mapping = {"text": "sentence", "choices": ("a", "b"), "label": 3}
    (found,) = rows([{"text": "hi", "choices": ["x", "y"]}], mapping, loose=True)
    assert (found.text("text"), found.texts("choices"), found.has("label")) == ("hi", ["x", "y"], False)
    (strict,) = rows([{"text": "hi"}], mapping)
    with pytest.raises(InputError, match="expected 'sentence'"):
        strict.text("text")
    (both,) = rows([{"text": "hi", "sentence": "ho"}], mapping, loose=True)
    assert both.text("text") == "ho"


@pytest.mark.parametrize(
    ("given", "bare", "expected"),
    [
        ("hi", ("text",), {"text": "hi"}),
        ("hi", ("text", "text_b"), {"text": "hi"}),
        (("a", "b"), ("text", "text_b"), {"text": "a", "text_b": "b"}),
        (["the", "cat"], ("words",), {"words": ["the", "cat"]}),
    ],
)
def test_bare_records(given: Any, bare: tuple[str, ...], expected: dict[str, Any]) -> None:
    (found,) = rows([given], {}, loose=True, bare=bare)
    assert found.record == expected


def test_one_column_in_a_list_is_that_column() -> None:
    (found,) = rows([{"options": ["x", "y"]}], {"choices": ("options",)})
    assert found.texts("choices") == ["x", "y"]
