"""The pre-training text: one document for each thing that is documented, a module, a class or a function.

Its signature, the prose said of it sentence by sentence, its parameters one by one, and the beginning of its code. So a
segment and the next are a signature and its description, a description and the code, two parameters of one function:
what next-sentence prediction asks here is whether words and code speak of the same thing.

Only subtrees of the training split are read: what a task is tested on is in no pre-training text either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from didact.data.document import Document
from didact.data.installed_docs.answers import TITLES, parameters, shown
from didact.data.installed_docs.entries import Entry
from didact.data.installed_docs.split import Split, split_of
from didact.data.installed_docs.text import paragraphs, sections
from didact.data.sentences import split as sentences_of

MOST_CODE = 600  # characters of one callable's code: what a name is appears in the first lines
CODE_SENTENCE = 160  # characters of code lines that are taken together as one sentence
NO_PROSE = TITLES | {"see also", "references", "examples", "example", "attributes", "methods", "usage"}


def documents(entries: Sequence[Entry], splits: Sequence[Split] = ("train",), code: bool = True) -> Iterator[Document]:
    """The documents of these splits, in the entries' order. code: False = prose and signatures alone."""
    places = split_of(entries)
    for entry in entries:
        if places[entry.library, entry.module] in splits:
            told = tuple(sentences(entry, code))
            if told:
                yield Document(entry.id, "\n".join(told), told)


def sentences(entry: Entry, code: bool = True) -> Iterator[str]:
    """What one entry adds to its document."""
    if entry.signature:
        yield entry.signature
    for section in sections(entry.doc):
        if section.title not in NO_PROSE:
            for paragraph in paragraphs(section.body):
                yield from (paragraph[a:b] for a, b in sentences_of(paragraph))
    described = parameters(entry.doc)
    if described is not None:
        yield from (" ".join("".join(shown(described[0], p)).split()) for p in described[1])
    if code and entry.code:
        yield from _code(entry.code)


def _code(code: str) -> Iterator[str]:
    """The first lines after the signature, a few at a time."""
    taken: list[str] = []
    size = total = 0
    for line in code.split("\n")[1:]:
        bare = " ".join(line.split())
        if total + len(bare) > MOST_CODE:
            break
        taken.append(bare)
        size, total = size + len(bare), total + len(bare)
        if size >= CODE_SENTENCE:
            yield " ".join(taken)
            taken, size = [], 0
    if taken:
        yield " ".join(taken)
