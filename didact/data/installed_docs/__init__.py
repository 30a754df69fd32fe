"""The embedded corpus: the documentation of the Python packages installed on this machine, and four tasks made of it.

found = extract(cache)                     read from source with `ast`, never imported
documents(cache)                           pre-training text, of training subtrees alone
write_tasks(found.entries, folder)         topic, roles, pairs, answers: true labels, train / dev / test
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from didact.data.document import Document
from didact.data.installed_docs import corpus
from didact.data.installed_docs.extract import Extraction, extract
from didact.data.installed_docs.libraries import LIBRARIES, Library
from didact.data.installed_docs.tasks import SIZES, TASKS, Sizes, write_tasks

__all__ = ["LIBRARIES", "SIZES", "TASKS", "Extraction", "Library", "Sizes", "documents", "extract", "write_tasks"]


def documents(cache: Path | None = None) -> Iterator[Document]:
    """The corpus `installed-docs`: what the training subtrees of the installed libraries say.

    cache: folder in which the extraction is kept; None = anew (about half a minute on two cores).
    """
    yield from corpus.documents(extract(cache).entries)
