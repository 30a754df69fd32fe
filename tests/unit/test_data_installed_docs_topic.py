from __future__ import annotations

import pytest

from didact.data.installed_docs.entries import Entry
from didact.data.installed_docs.libraries import LIBRARIES
from didact.data.installed_docs.topic import FEWEST_WORDS, MOST_CHARACTERS, mask_of, topics

PROSE = "This is what the function does with each of the many things that it is given here"


def entry(doc: str, library: str = "numpy", name: str = "f") -> Entry:
    return Entry(library, "numpy.x", name, "function", "def f():", doc, "")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_no_name_of_a_library_stays(library: object) -> None:
    mask = mask_of()
    for name in library.given_away_by:  # type: ignore[attr-defined]
        for text in (f"The {name} way", f"In {name.upper()}, of course", f"{name}.sub.thing is", f"a {name}-like one"):
            left = mask(text)
            assert left not in mask
            assert name.lower() not in left.lower().replace("-", " ").replace(".", " ").split()


def test_texts_are_prose_of_some_length() -> None:
    notes = "Notes\n-----\nIt is known to numpy.\n\n>>> np.f()"
    doc = f"{PROSE}.\n\nParameters\n----------\nx : int\n    secret words\n\n{notes}"
    (found,) = topics([entry(doc), entry("Too short."), entry(f"{PROSE}! Again.", "scipy", "g")], mask_of())
    assert found.text == f"{PROSE}. It is known to"
    assert found.label == "numpy"
    assert found.id == "numpy.x:f"
    assert len(found.text.split()) >= FEWEST_WORDS


def test_long_texts_are_cut() -> None:
    (found,) = topics([entry(" ".join(f"word{i} and" for i in range(300)))], mask_of())
    assert len(found.text) <= MOST_CHARACTERS
