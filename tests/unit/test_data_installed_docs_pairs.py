from __future__ import annotations

from collections import Counter

from installed_docs_tools import module_source

from didact.data.installed_docs.entries import Entry, entries_of
from didact.data.installed_docs.pairs import BELONGS, MOST_OF_A_MODULE, OTHER, described, pairs


def entries(number: int = 1, functions: int = 6) -> list[Entry]:
    return entries_of(module_source(number, functions), "numpy", f"numpy.m{number}")


def test_everything_is_used_once_under_each_label() -> None:
    found = list(pairs(entries(), set()))
    assert len(found) == 12
    assert Counter(p.label for p in found) == {BELONGS: 6, OTHER: 6}
    for label in (BELONGS, OTHER):
        assert len({p.signature for p in found if p.label == label}) == 6
        assert len({p.description for p in found if p.label == label}) == 6
    true = {(e.signature, e.doc.split("\n")[0].replace("numpy.array", "numpy.array")) for e in entries()}
    for p in found:
        assert ((p.signature, p.description) in true) == (p.label == BELONGS)


def test_a_ring_of_one_is_no_pair_and_nothing_is_used_twice() -> None:
    assert list(pairs(entries(functions=1), set())) == []
    seen: set[str] = set()
    assert len(list(pairs(entries(), seen))) == 12
    assert list(pairs(entries(), seen)) == []


def test_a_description_that_repeats_the_name_is_left_out() -> None:
    source = (
        'def scale(x):\n    """Use scale to change the size."""\ndef other(x):\n    """Changes the size of it all."""\n'
    )
    assert [d.id for d in described(entries_of(source, "numpy", "m"))] == ["m:other"]


def test_a_large_module_gives_no_more_than_its_share() -> None:
    found = list(pairs(entries(functions=50), set()))
    assert len(found) == 2 * MOST_OF_A_MODULE
    for part in ("description", "signature"):
        said = Counter((getattr(p, part), p.label) for p in found)
        assert set(said.values()) == {1}
        assert {text for text, label in said if label == BELONGS} == {text for text, label in said if label == OTHER}
