"""A task that is put to a model without training it: a description, templates, the words that stand for the labels
(Brown et al., 2020, §2 and figure 2.1; verbalizers: Schick & Schütze, 2021, §3.1), and the records it is asked of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from didact.errors import InputError
from didact.evaluation.fewshot.template import Template, text_of, value_of
from didact.generation.masked import Order

Writes = Literal["text", "span", "whole"]
Draw = Literal["question", "seed"]
Scoring = Literal["sum", "tokens", "characters", "pmi", "calibrated"]
SCORINGS: tuple[Scoring, ...] = ("sum", "tokens", "characters", "pmi", "calibrated")


@dataclass(frozen=True)
class Fewshot:
    """name; templates: each asked in turn; labels: the words of each label, {} where each record brings its choices;
    choices: the field that holds them; answer: the field that holds the right label, or the number (an integer) or the
    text of the right choice; description: before everything else; separator: between description, demonstrations and
    question.

    draw: demonstrations for each question anew, or for all questions of a seed the same; balance: the field whose
    values are to be equally frequent among them; within: the field in which they equal the question; repeats: whether
    one may read like the question.
    domain: what stands around the answer for `pmi`, None = each template's own; empty: what stands for every field of
    an input without content, for `calibrated`; order: of several masks; decoder: what an encoder-decoder writes (see
    `readers`), None = by the model.
    """

    name: str
    templates: tuple[Template, ...]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    choices: str | None = None
    answer: str = "label"
    description: str = ""
    separator: str = "\n\n"
    draw: Draw = "question"
    balance: str | None = None
    within: str | None = None
    repeats: bool = False
    domain: tuple[str, str] | None = None
    empty: tuple[str, ...] = ("N/A", "", "[MASK]")
    order: Order = "most_certain"
    decoder: Writes | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What the task itself says: all texts that are of no record."""
        words = (word for own in self.labels.values() for word in own)
        literals = (text for template in self.templates for text in template.texts)
        return (self.description, self.separator, *words, *literals, *(self.domain or ()))

    def __post_init__(self) -> None:
        """InputError for a label without a word, or with an empty one."""
        for name, words in self.labels.items():
            if not words or not all(word.strip() for word in words):
                raise InputError(f"label {name!r} with an empty answer", expected="words that stand for it")


@dataclass(frozen=True)
class Case:
    """A record as the task asks it. id: the record's, else its number from 0; fields: of the templates; names: of the
    answers it may have; words: what may stand for each; gold: the number of the right one; balance, within: its values
    of those fields; file, row: where it stands.
    """

    id: str
    fields: Mapping[str, str]
    names: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    gold: int
    balance: str = ""
    within: str = ""
    file: str | None = None
    row: int | None = None

    @property
    def answer(self) -> str:
        """The right answer as it is written in a demonstration."""
        return self.words[self.gold][0]


def cases(task: Fewshot, records: Iterable[tuple[int | None, Mapping[Any, Any]]], file: str | None) -> list[Case]:
    """(row, fields) -> cases. Raises InputError where a field or the right answer is missing or unknown."""
    found = []
    for row, record in records:
        fields = {name: text_of(record, name, file, row) for t in task.templates for name in t.fields}
        names, words, gold = _options(task, record, file, row)
        own = [text_of(record, name, file, row) if name else "" for name in (task.balance, task.within)]
        id = str(record["id"]) if record.get("id") is not None else str(len(found))
        found.append(Case(id, fields, names, words, gold, own[0], own[1], file, row))
    if not found:
        raise InputError("no records", file=file, expected="at least one")
    return found


def _options(
    task: Fewshot, record: Mapping[Any, Any], file: str | None, row: int | None
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], int]:
    """The names of the answers, their words, and which is right."""
    if task.choices is None:
        said = text_of(record, task.answer, file, row)
        names = tuple(task.labels)
        if said not in task.labels:
            raise InputError(f"label {said!r}", file=file, row=row, expected=f"one of {', '.join(names)}")
        return names, tuple(task.labels.values()), names.index(said)
    given = record.get(task.choices)
    if not isinstance(given, list | tuple) or len(given) < 2 or not all(isinstance(text, str) for text in given):
        raise InputError(f"{task.choices} is {given!r}"[:80], file=file, row=row, expected="two texts or more")
    names = tuple(str(text) for text in given)
    if not all(name.strip() for name in names):
        raise InputError(f"{task.choices} with an empty text", file=file, row=row, expected="texts to choose from")
    return names, tuple((name,) for name in names), _right(task, record, names, file, row)


def _right(task: Fewshot, record: Mapping[Any, Any], names: tuple[str, ...], file: str | None, row: int | None) -> int:
    """The number of the right choice. A number says which, a text is one of them; files whose fields are all text may
    write the number, too, where it can be nothing else.
    """
    value = value_of(record, task.answer, file, row)
    said = text_of(record, task.answer, file, row)
    number = isinstance(value, int) and not isinstance(value, bool)
    index = int(said) if number or (said.isascii() and said.isdecimal()) else -1
    if not 0 <= index < len(names):
        index = -1
    text = -1 if number or said not in names else names.index(said)
    if index >= 0 and text >= 0 and index != text:
        raise InputError(
            f"{task.answer} {said!r} is choice {text}, and the number of another",
            file=file, row=row, expected="a text that is no number, or the number as a JSON number",
        )  # fmt: skip
    if max(index, text) < 0:
        raise InputError(
            f"{task.answer} {said!r}", file=file, row=row, expected=f"one of the choices, or 0 to {len(names) - 1}"
        )
    return max(index, text)
