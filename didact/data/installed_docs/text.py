"""Docstrings as text: sections, paragraphs of prose, sentences' worth of words, names taken out.

Three conventions are understood: numpydoc (a title underlined with dashes), Google ("Args:" and an indented block) and
Sphinx (":param x: …").
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_UNDERLINE = re.compile(r"^[-=~^*#\"'+]{3,}\s*$")
_NO_LETTERS = re.compile(r"[^\w ]+|[\d_]+")
_DIRECTIVE = re.compile(r"^\s*\.\. ")
_FIELD = re.compile(r"^\s*:(param|parameter|arg|argument|type|returns?|rtype|raises?|ivar|vartype|keyword|kwarg)\b")
_GOOGLE = re.compile(
    r"^(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters|Attributes|Returns?|Yields?|"
    r"Raises|Examples?|Notes?|References|See Also|Warnings?|Shape|Inputs?|Outputs?|Usage)\s*:\s*$"
)


@dataclass(frozen=True)
class Section:
    """title: "" for what comes before the first title, else as written, in lower case; body: its lines, dedented;
    underlined: numpydoc's way of writing a title."""

    title: str
    body: str
    underlined: bool = False


def sections(doc: str) -> list[Section]:
    """The docstring cut at its titles, in order."""
    lines = doc.splitlines()
    found: list[tuple[str, list[str], bool]] = [("", [], False)]
    at = 0
    while at < len(lines):
        line = lines[at]
        following = lines[at + 1] if at + 1 < len(lines) else ""
        if line[:1].strip() and following[:1] in "-=~^*#" and _UNDERLINE.match(following):
            found.append((line.strip().lower(), [], True))
            at += 2
            continue
        if line.rstrip().endswith(":") and (google := _GOOGLE.match(line)):
            found.append((google[1].lower(), [], False))
        else:
            found[-1][1].append(line)
        at += 1
    return [Section(title, textwrap.dedent("\n".join(body)).strip("\n"), under) for title, body, under in found]


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of prose, each on one line. Doctests, directives with what is indented under them, underlines,
    literal blocks, tables and field lists are no prose."""
    block: list[str] = []
    indent = 0  # of the block being gathered
    deeper_than: int | None = None  # what is indented deeper belongs to a directive or a literal block
    in_doctest = False
    for line in (*text.splitlines(), ""):
        bare = line.strip()
        here = len(line) - len(line.lstrip())
        if bare and deeper_than is not None:
            if here > deeper_than:
                continue
            deeper_than = None
        in_doctest = bool(bare) and (in_doctest or bare.startswith(">>>"))
        opens = bare.startswith((".. ", ":")) and (_DIRECTIVE.match(line) or _FIELD.match(line))
        dropped = in_doctest or opens or _UNDERLINE.match(bare) or bare.startswith(("|", "+-", "```"))
        if bare and not dropped:
            indent = indent if block else here
            block.append(bare)
            continue
        if block:
            joined, block = " ".join(block), []
            if joined.endswith("::"):
                joined, deeper_than = joined[:-1], indent
            if _is_prose(joined):
                yield plain(joined)
        if opens:
            deeper_than = here


def _is_prose(text: str) -> bool:
    return text.count(" ") >= 2 and len(_NO_LETTERS.sub("", text)) >= 0.75 * len(text)


def plain(text: str) -> str:
    """Markup of reStructuredText and Markdown taken off: roles keep their text, code keeps its words."""
    text = re.sub(r":[a-z:+-]+:`~?!?([^`<]*?)(?:\s*<[^`>]*>)?`", r"\1", text)
    text = re.sub(r"`([^`<]+?)\s*<[^`>]+>`_{0,2}", r"\1", text)
    text = re.sub(r"`{1,2}([^`]+)`{1,2}_{0,2}", r"\1", text)
    text = re.sub(r"\*\*([^*\n]+)\*\*", r"\1", text)
    text = re.sub(r"(?<![\w*])\*([^\s*][^*\n]*)\*(?![\w*])", r"\1", text)
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def description(doc: str) -> str:
    """The prose before the first section, its paragraphs joined."""
    return " ".join(paragraphs(sections(doc)[0].body))


def summary(doc: str) -> str:
    """The first paragraph of prose, "" where there is none before the first section."""
    return next(paragraphs(sections(doc)[0].body), "")


def cut(text: str, most: int) -> str:
    """At most `most` characters, cut after a whole word."""
    if len(text) <= most:
        return text
    return text[: most + 1].rsplit(None, 1)[0].rstrip(" ,;:(")


_COMPOUND = re.compile(r"[^\W_]+(?:[-_.][^\W_]+)*(?:\.(?=\s|$))?")
_LINK = re.compile(r"\w+://\S+|www\.\S+|\S+@\S+\.\S+")


@dataclass(frozen=True)
class Mask:
    """Takes names out of a text, whatever the case: words of their own and in compounds ("scipy-like" -> "like"); of a
    dotted path that a name heads only the last part stays (`np.linalg.norm` -> `norm`); links go as a whole.

    names: one word each, or several joined by "-" or "_", in lower case.
    """

    names: frozenset[str]

    @staticmethod
    def of(names: Iterable[str]) -> Mask:
        return Mask(frozenset(name.lower().replace("_", "-") for name in names))

    def __call__(self, text: str) -> str:
        text = _COMPOUND.sub(self._left, _LINK.sub(" ", text))
        return re.sub(r" (?=[.,;:)])", "", re.sub(r"\s+", " ", text)).strip()

    def __contains__(self, text: str) -> bool:
        return any(self._left(match) != match[0] for match in _COMPOUND.finditer(text))

    def _left(self, match: re.Match[str]) -> str:
        word = match[0]
        end = "." if word.endswith(".") else ""
        parts = word.removesuffix(".").split(".")
        if self._named(parts[0]) and len(parts) > 1:
            parts = parts[-1:]
        kept = [part for part in map(self._without, parts) if part]
        return ".".join(kept) + (end if kept else "")

    def _named(self, word: str) -> bool:
        return word.lower().replace("_", "-") in self.names

    def _without(self, word: str) -> str:
        """A compound less its parts that are names; runs of parts count as one name too ("scikit-learn")."""
        if self._named(word):
            return ""
        pieces = re.split(r"[-_]", word)
        kept: list[str] = []
        at = 0
        while at < len(pieces):
            ends = range(len(pieces), at, -1)
            named = next((end for end in ends if self._named("-".join(pieces[at:end]))), None)
            if named is None:
                kept.append(pieces[at])
            at = named or at + 1
        return word if len(kept) == len(pieces) else "-".join(kept)
