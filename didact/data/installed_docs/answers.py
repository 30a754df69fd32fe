"""Answers: "what does the parameter x mean?" -> the span of the parameter section that says so.

The context is the docstring's own list of parameters, whatever its convention (numpydoc, Google, Sphinx), on fewer
lines; the answer is the first sentence of x's description. Every span is checked against the text it was cut from.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from didact.data.installed_docs.text import plain, sections

Style = Literal["numpydoc", "google", "sphinx"]
TITLES = frozenset(
    ("parameters", "other parameters", "args", "arguments", "params", "keyword args", "keyword arguments")
)
FEWEST_PARAMETERS = 3
LONGEST_CONTEXT = 380  # characters: with the question at most about 128 tokens
SHORTEST, LONGEST = 3, 40  # words of an answer

_GOOGLE_ITEM = re.compile(r"^(\*{0,2}\w+)\s*(\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ITEM = re.compile(r"^([\w*`, ]+?)\s*:(?:\s+(.*))?$|^([\w*]+)$")
_SPHINX_ITEM = re.compile(
    r"^:(?:param|parameter|arg|argument|keyword)\s+((?:[\w\[\],. |]+\s+)?)(\*{0,2}\w+)\s*:\s*(.*)$"
)
_SENTENCE = re.compile(r"^.*?(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bcf)[.](?=\s|$)")


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Question:
    """start: character of the context at which `answer` begins."""

    parameter: str
    question: str
    context: str
    answer: str
    start: int


def parameters(doc: str) -> tuple[Style, list[Parameter]] | None:
    """The parameters a docstring describes, in order, and the convention it follows; None where it has no list."""
    if found := list(_sphinx(doc)):
        return "sphinx", found
    for section in sections(doc):
        if section.title in TITLES:
            style: Style = "numpydoc" if section.underlined else "google"
            found = list(_items(section.body, style))
            if found:
                return style, found
    return None


def questions(doc: str) -> list[Question]:
    """One question for each parameter that can be asked about, [] where fewer than FEWEST_PARAMETERS are described."""
    described = parameters(doc)
    if described is None or len(described[1]) < FEWEST_PARAMETERS:
        return []
    style, found = described
    if len({p.name for p in found}) < len(found):
        return []
    asked = []
    for index, parameter in enumerate(found):
        answer = first_sentence(parameter.description)
        if not re.fullmatch(r"[A-Za-z_]\w*", parameter.name) or not SHORTEST <= len(answer.split()) <= LONGEST:
            continue
        context, start = _context(style, found, index)
        if context:
            question = f"What does the parameter {parameter.name} mean?"
            asked.append(Question(parameter.name, question, context, answer, start))
    return asked


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence, itself left out; all of it where there is none."""
    match = _SENTENCE.match(text)
    return (match[0] if match else text).rstrip(" .:;")


def _context(style: Style, found: list[Parameter], asked: int) -> tuple[str, int]:
    """As many neighbours as LONGEST_CONTEXT holds, and where the asked parameter's description begins in them."""
    parts = [shown(style, p) for p in found]
    first = last = asked
    size = sum(map(len, parts[asked]))
    while True:
        grown = False
        for end in (first - 1, last + 1):
            if 0 <= end < len(parts) and size + sum(map(len, parts[end])) + 1 <= LONGEST_CONTEXT:
                size += sum(map(len, parts[end])) + 1
                first, last, grown = min(first, end), max(last, end), True
        if not grown:
            break
    if size > LONGEST_CONTEXT or last - first + 1 < FEWEST_PARAMETERS:
        return "", 0
    before = "".join(f"{head}{body}\n" for head, body in parts[first:asked])
    context = "\n".join(f"{head}{body}" for head, body in parts[first : last + 1])
    return context, len(before) + len(parts[asked][0])


def shown(style: Style, p: Parameter) -> tuple[str, str]:
    """A parameter as its convention writes it: what stands before the description, and the description."""
    if style == "numpydoc":
        return (f"{p.name} : {p.type}\n" if p.type else f"{p.name}\n"), p.description
    if style == "google":
        return (f"{p.name} ({p.type}): " if p.type else f"{p.name}: "), p.description
    return (f":param {p.type} {p.name}: " if p.type else f":param {p.name}: "), p.description


def _items(body: str, style: Style) -> Iterator[Parameter]:
    """Unindented lines are heads, what is indented below them is their description."""
    head: re.Match[str] | None = None
    below: list[str] = []
    for line in [*textwrap.dedent(body).split("\n"), "end : "]:
        if line[:1].isspace() or not line.strip():
            below.append(line)
            continue
        if head is not None and (one := _item(head, below, style)):
            yield one
        head, below = (_GOOGLE_ITEM if style == "google" else _NUMPY_ITEM).match(line), []


def _item(head: re.Match[str], below: list[str], style: Style) -> Parameter | None:
    if style == "google":
        text = _one_line([head[3], *below])
        return Parameter(head[1], plain((head[2] or "").strip("()")), text) if text else None
    text = _one_line(below)
    name = (head[1] or head[3]).strip("` ")
    return Parameter(name, plain(head[2] or ""), text) if text else None


def _sphinx(doc: str) -> Iterator[Parameter]:
    head: re.Match[str] | None = None
    below: list[str] = []
    for line in [*doc.split("\n"), ":end:"]:
        if not line.lstrip().startswith(":") and head is not None and line.strip():
            below.append(line)
            continue
        if head is not None:
            if text := _one_line([head[3], *below]):
                yield Parameter(head[2], head[1].strip(), text)
            head, below = None, []
        head = _SPHINX_ITEM.match(line.strip())


def _one_line(lines: list[str]) -> str:
    """The first paragraph, without markup."""
    kept: list[str] = []
    for line in lines:
        if not line.strip() and kept:
            break
        if line.strip().startswith((".. ", ">>> ", "- ", "* ")):
            break
        kept.append(line.strip())
    return plain(" ".join(kept))
