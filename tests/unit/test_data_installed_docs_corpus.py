from __future__ import annotations

from pathlib import Path

import pytest
from installed_docs_tools import one, site_packages

from didact.data import installed_docs
from didact.data.installed_docs import corpus, split
from didact.data.installed_docs.extract import extract

SOURCE = '''
def scale(x, by=2):
    """Scale a thing. Twice, by default.

    Parameters
    ----------
    x : float
        What is scaled.

    Examples
    --------
    >>> scale(1)
    """
    factor = by * 1.0
    return x * factor
'''


def test_what_an_entry_says() -> None:
    entry = one(SOURCE, "scale")
    told = list(corpus.sentences(entry))
    assert told == [
        "def scale(x, by=2):", "Scale a thing.", "Twice, by default.", "x : float What is scaled.",
        "factor = by * 1.0 return x * factor",
    ]  # fmt: skip
    assert list(corpus.sentences(entry, code=False)) == told[:-1]


def test_long_code_is_cut_into_sentences() -> None:
    lines = "\n".join(f"    value_{i} = something(value_{i})" for i in range(100))
    told = list(corpus._code(one(f'def f():\n    """Doc of it."""\n{lines}\n', "f").code))
    assert sum(map(len, told)) <= corpus.MOST_CODE + len(told) * 10
    assert len(told) >= 3
    assert all("\n" not in sentence for sentence in told)


def test_documents_are_entries_of_the_training_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "SMALL_LIBRARY", 0)
    found = extract(None, [str(site_packages(tmp_path, modules=24))], 1)
    splits = {name: {d.id for d in corpus.documents(found.entries, (name,))} for name in ("train", "dev", "test")}
    assert all(splits.values())
    assert sum(map(len, splits.values())) == len(found.entries)
    monkeypatch.setattr(installed_docs, "extract", lambda _cache: found)
    documents = list(installed_docs.documents())
    assert {d.id for d in documents} == splits["train"]
    for document in documents:
        assert document.sentences is not None
        assert document.text == "\n".join(document.sentences)
        assert len(document.spans()) == len(document.sentences)
