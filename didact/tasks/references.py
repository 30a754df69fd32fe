"""The right answers of a question, read from every way in which files state them.

    SQuAD             answers: [{"text": …, "answer_start": …}], [] or is_impossible where there is none
    Hugging Face      answers: {"text": […], "answer_start": […]}
    plain             answer: text, with start: its first character, or without (then it is looked for)
    SubjQA            span: "(12, 30)", the characters [12, 30)
    QAMR              words: "3 4 5", numbers of the context's words (parted by single spaces), from 0; "261:3 4 5" with
                      who said so before the colon; one column or several

An answer is given once in characters; `start` and the text must agree, or the nearest place where the text stands is
taken (and counted). Characters are Python's: code points.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from didact.tasks.columns import Row

FORMS = ("span", "words", "answers", "answer")  # the first that a row has counts
MOVED = "answers moved to where their text stands"
SEARCHED = "answers found by their text"
GAPS = "answers with gaps, taken whole"


@dataclass(frozen=True)
class Reference:
    """texts: all right answers, none where there is none; start, end: characters of the first in the context."""

    texts: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


def read_reference(row: Row, context: str, no_answer: str, count: Callable[[str], None]) -> Reference | None:
    """The reference answers of a row; None where an answer's text does not stand in the context.

    no_answer: a text that stands for none; where the context ends with it, answers end before it. Raises InputError
    where the answer cannot be read, or none is stated.
    """
    given = next((form for form in FORMS if row.has(form)), None)
    if row.has("impossible") and str(row.value("impossible")).lower() in ("true", "1"):
        return Reference()
    if given is None:
        columns = ", ".join(str(c) for c in row.record)
        raise row.wrong(f"no answer in columns {columns}", f"one of {', '.join(FORMS)} (see the task's `columns`)")
    readers = {"answers": _answers, "answer": _answer, "span": _span, "words": _words}
    spans = readers[given](row, context, count)
    if None in spans:
        return None
    limit = len(context.removesuffix(no_answer)) if no_answer else len(context)
    clipped = [(s[0], min(s[1], limit)) for s in spans if s is not None]
    kept = [(a, b) for a, b in clipped if (text := context[a:b]).strip() and text != no_answer]
    if not kept:
        return Reference()
    return Reference(tuple(dict.fromkeys(context[a:b] for a, b in kept)), *kept[0])


Span = tuple[int, int]


def _answers(row: Row, context: str, count: Callable[[str], None]) -> list[Span | None]:
    value = row.value("answers")
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list | tuple) or not isinstance(starts, list | tuple) or len(texts) != len(starts):
            raise row.wrong(f"answers with {', '.join(map(str, value))}", "as many of text as of answer_start")
        pairs: list[tuple[Any, Any]] = list(zip(texts, starts, strict=True))
    elif isinstance(value, list | tuple):
        pairs = [(v.get("text"), v.get("answer_start")) if isinstance(v, Mapping) else (v, None) for v in value]
    else:
        pairs = [(value, None)]
    return [_place(row, context, text, start, count) for text, start in pairs if text != ""]


def _answer(row: Row, context: str, count: Callable[[str], None]) -> list[Span | None]:
    text = row.text("answer")
    start = row.value("start") if text and row.has("start") else None
    return [_place(row, context, text, start, count)] if text else []


def _place(row: Row, context: str, text: Any, start: Any, count: Callable[[str], None]) -> Span | None:
    """Where an answer stands: at `start`, else at the nearest place that reads so, else nowhere (None)."""
    if not isinstance(text, str):
        raise row.wrong(f"answer {text!r}", "a text")
    if start is None or start == "":
        at = context.find(text)
        count(SEARCHED)
        return None if at < 0 else (at, at + len(text))
    try:
        wanted = int(start)
    except (TypeError, ValueError):
        raise row.wrong(f"answer starts at {start!r}", "the number of a character") from None
    if wanted >= 0 and context.startswith(text, wanted):
        return wanted, wanted + len(text)
    places = [m.start() for m in re.finditer(re.escape(text), context)]
    if not places:
        return None
    count(MOVED)
    at = min(places, key=lambda place: abs(place - wanted))
    return at, at + len(text)


def _span(row: Row, context: str, count: Callable[[str], None]) -> list[Span | None]:  # noqa: ARG001
    value = row.value("span")
    numbers = re.findall(r"-?\d+", value) if isinstance(value, str) else list(value)
    if not numbers:
        return []
    if len(numbers) != 2:
        raise row.wrong(f"answer span {value!r}", "two numbers, the first character and one past the last")
    start, end = int(numbers[0]), int(numbers[1])
    if not 0 <= start <= end <= len(context):
        raise row.wrong(f"answer span {value!r}", f"characters between 0 and {len(context)}")
    return [(start, end)]


def _words(row: Row, context: str, count: Callable[[str], None]) -> list[Span | None]:
    value = row.value("words")
    columns = value if isinstance(value, list) and not all(isinstance(v, int) for v in value) else [value]
    words = context.split(" ")
    starts = [0, *accumulate(len(word) + 1 for word in words)]
    spans: list[Span | None] = []
    for column in columns:
        try:
            numbers = [int(n) for n in (column.split(":")[-1].split() if isinstance(column, str) else column)]
        except (TypeError, ValueError):
            raise row.wrong(f"answer words {column!r}", "numbers of words with spaces between") from None
        if not numbers:
            continue
        first, last = min(numbers), max(numbers)
        if first < 0 or last >= len(words):
            raise row.wrong(f"answer words {column!r}", f"numbers below {len(words)}, the context's words")
        if last - first + 1 != len(set(numbers)):
            count(GAPS)
        spans.append((starts[first], starts[last] + len(words[last])))
    return spans
