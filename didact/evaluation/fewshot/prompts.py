"""A question with its demonstrations, written out; and what gives way where it is too long.

Where a prompt does not fit, demonstrations go from the front, the furthest from the question first, until it does; if
it does not fit without any, the beginning of the text is cut, then its end. All is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from didact.errors import InputError
from didact.evaluation.fewshot.readers import Prompt, Reader
from didact.evaluation.fewshot.task import Case, Fewshot
from didact.evaluation.fewshot.template import Template
from didact.generation.asking import voice


def check_names(reader: Reader, task: Fewshot, cases: Sequence[Case]) -> None:
    """Raises InputError where a record holds the name of a special token and the task names some as well: what the task
    says is meant, what a record says is text, and in one prompt they are not told apart.
    """
    if not reader.special:
        return
    tokenizer = voice(reader.model)[0].tokenizer
    said = [(case, text) for case in cases for text in (*case.fields.values(), *(case.names if task.choices else ()))]
    for (case, text), named in zip(said, tokenizer.named([text for _, text in said]), strict=True):
        if named:
            raise InputError(
                f"the name of a special token in {text[:40]!r}, and the task names some, too",
                file=case.file, row=case.row, expected="records without, or a task without",
            )  # fmt: skip


def check_answers(reader: Reader, task: Fewshot, questions: Sequence[Case]) -> None:
    """Raises InputError for an answer that the tokenizer cannot write, for two whose tokens are the same, so that no
    score could tell what they say, and for one that is as long as what the model reads.
    """
    kind = "label" if task.choices is None else task.choices
    asked = list({case.words: case for case in reversed(questions)}.values())
    most = math.inf if reader.model.maximum is None else reader.model.maximum
    for case in asked:
        file, row = (None, None) if task.choices is None else (case.file, case.row)
        for name, some in zip(case.names, case.words, strict=True):
            for own in reader.model.tokenizer.encode_many(list(some)):
                if len(own) >= most:
                    found = f"{kind} {name[:40]!r}: an answer of {len(own)} tokens"
                    raise InputError(found, file=file, row=row, expected=f"fewer than {most}, which the model reads")
    for template in task.templates:
        words = [[word for own in case.words for word in own] for case in asked]
        prompts = [written(task, template, [], case.fields, own) for case, own in zip(asked, words, strict=True)]
        for case, own, found in zip(asked, words, reader.pieces(prompts), strict=True):
            file, row = (None, None) if task.choices is None else (case.file, case.row)
            owners = [i for i, some in enumerate(case.words) for _ in some]
            first: dict[tuple[int, ...], int] = {}
            for i, word, pieces in zip(owners, own, found, strict=True):
                name = f"{kind} {case.names[i]!r}"
                if reader.unknown is not None and reader.unknown in pieces:
                    raise InputError(
                        f"{name}: the tokenizer cannot write {word!r}",
                        file=file, row=row, expected="an answer made of its pieces",
                    )  # fmt: skip
                if (other := first.setdefault(pieces, i)) != i:
                    raise InputError(
                        f"{name}: {word!r} has the same tokens as an answer of {case.names[other]!r}",
                        file=file, row=row, expected="answers that differ to the tokenizer",
                    )  # fmt: skip


def written(
    task: Fewshot, template: Template, shown: Sequence[Case], fields: Mapping[str, str], words: Sequence[str]
) -> Prompt:
    """Description, demonstrations with their answers, and the question, whose fields are `fields`."""
    parts = [task.description] if task.description else []
    for case in shown:
        before, after = template.sides(case.fields)
        parts.append(before + case.answer + after)
    before, after = template.sides(fields)
    return Prompt(task.separator.join([*parts, before]), after, tuple(words), tells=template.tells)


def fitted(
    reader: Reader,
    task: Fewshot,
    template: Template,
    shown: Sequence[Sequence[Case]],
    fields: Sequence[Mapping[str, str]],
    words: Sequence[Sequence[str]],
) -> list[Prompt]:
    """A prompt for each question: its demonstrations, its fields, its words; those that do not fit give way."""
    first = [0] * len(shown)
    made = [written(task, template, *own) for own in zip(shown, fields, words, strict=True)]
    open_ = [i for i in range(len(made)) if shown[i]]
    while open_:
        fits = reader.fits([made[i] for i in open_])
        open_ = [i for i, right in zip(open_, fits, strict=True) if not right and first[i] < len(shown[i])]
        for i in open_:
            first[i] += 1
            made[i] = written(task, template, shown[i][first[i] :], fields[i], words[i])
    return [replace(prompt, dropped=gone) for prompt, gone in zip(made, first, strict=True)]
