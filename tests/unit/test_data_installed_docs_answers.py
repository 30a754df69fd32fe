from __future__ import annotations

import pytest

from didact.data.installed_docs.answers import LONGEST_CONTEXT, first_sentence, parameters, questions

NUMPYDOC = """Do it.

Parameters
----------
a : int, optional
    The first of the things. More about it.
b, c : float
    Two at once, both of them here.
d
    Without any type at all. e.g. this.
*args : tuple
    Whatever else there may be here.

Returns
-------
out : int
    The thing that comes out here.
"""
GOOGLE = """Do it.

Args:
    a (int): The first of
        the things. More about it.
    b: The second of the ``things``
    c (str, optional): The third: of the things.

        Another paragraph.

Returns:
    Something else.
"""
SPHINX = """Do it.

:param a: The first of the things.
:type a: int
:param str b: The second of
    the things
:param c: The third of the things. More.
:returns: nothing
"""


@pytest.mark.parametrize(
    ("doc", "style", "found"),
    [
        (NUMPYDOC, "numpydoc", [("a", "int, optional"), ("b, c", "float"), ("d", ""), ("*args", "tuple")]),
        (GOOGLE, "google", [("a", "int"), ("b", ""), ("c", "str, optional")]),
        (SPHINX, "sphinx", [("a", ""), ("b", "str"), ("c", "")]),
    ],
)
def test_conventions(doc: str, style: str, found: list[tuple[str, str]]) -> None:
    described = parameters(doc)
    assert described is not None
    assert described[0] == style
    assert [(p.name, p.type) for p in described[1]] == found


@pytest.mark.parametrize(
    ("doc", "answers"),
    [
        (NUMPYDOC, {"a": "The first of the things", "d": "Without any type at all"}),
        (GOOGLE, {"a": "The first of the things", "b": "The second of the things", "c": "The third: of the things"}),
        (SPHINX, {"a": "The first of the things", "b": "The second of the things", "c": "The third of the things"}),
    ],
)
def test_answers_are_exact_spans(doc: str, answers: dict[str, str]) -> None:
    found = questions(doc)
    assert {q.parameter: q.answer for q in found} == answers
    for q in found:
        assert q.context[q.start : q.start + len(q.answer)] == q.answer
        assert q.parameter in q.question
        assert len(q.context) <= LONGEST_CONTEXT
        assert q.context.count(q.parameter) >= 1
        assert "out" not in q.context.split()


def test_long_lists_are_windows_around_the_question() -> None:
    items = "\n".join(f"    name{i}: What the number {i} of all of these things is for in here." for i in range(40))
    found = questions(f"Do.\n\nArgs:\n{items}\n")
    assert len(found) == 40
    for i, q in enumerate(found):
        assert q.answer == f"What the number {i} of all of these things is for in here"
        assert q.context[q.start :].startswith(q.answer)
        assert len(q.context) <= LONGEST_CONTEXT
        assert f"name{i}: " in q.context
        assert q.context.count("\n") >= 2


@pytest.mark.parametrize(
    "doc",
    [
        "No parameters here.",
        "Args:\n    a: The first of the things.\n    b: The second of the things.",
        "Args:\n    a: One thing of all.\n    a: One thing of all.\n    b: Two things of all.",
        "Parameters\n----------\n",
    ],
)
def test_nothing_to_ask(doc: str) -> None:
    assert questions(doc) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One"),
        ("A number, e.g. 3.5 or so. Then more.", "A number, e.g. 3.5 or so"),
        ("No stop at all", "No stop at all"),
        ("Ends here: ", "Ends here"),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence
