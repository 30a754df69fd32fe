from __future__ import annotations

from collections import Counter

import pytest

from didact.data.installed_docs.entries import Entry
from didact.data.installed_docs.split import SHARES, SMALL_LIBRARY, assign, split_of, subtrees

SIZES = {
    "lib": 5, "lib.a": 1, "lib.a.x": 10, "lib.a.y": 10, "lib.b": 3, "lib.b.big": 60, "lib.b.big.deep": 60,
    "lib.b.small": 2, "lib.c": 4,
}  # fmt: skip


def test_a_package_is_opened_only_where_it_is_large() -> None:
    found = subtrees(SIZES, largest=0.2)
    assert found["lib"] == "lib.__init__"
    assert found["lib.c"] == "lib.c"
    assert found["lib.a"] == found["lib.a.x"] == found["lib.a.y"] == "lib.a"
    assert found["lib.b"] == "lib.b.__init__"
    assert found["lib.b.small"] == "lib.b.small"
    assert found["lib.b.big.deep"] == "lib.b.big.deep"


@pytest.mark.parametrize("largest", [0.01, 0.1, 0.5, 1.0])
def test_subtrees_are_whole(largest: float) -> None:
    found = subtrees(SIZES, largest)
    assert set(found) == set(SIZES)
    for module, subtree in found.items():
        for other, others in found.items():
            if other.startswith(f"{subtree}."):
                assert others == subtree, (module, other)


def test_shares_are_met() -> None:
    sizes = {f"lib.m{i}": 10 for i in range(200)}
    placed = assign(sizes)
    assert placed == assign(dict(reversed(sizes.items())))
    got = Counter(placed.values())
    assert all(abs(got[split] / 200 - share) < 0.02 for split, share in SHARES.items())


def test_small_libraries_and_readmes_are_train() -> None:
    def entry(library: str, module: str, size: int) -> Entry:
        return Entry(library, module, "", "module", "", "x" * size, "")

    entries = [entry("small", f"small.m{i}", 10) for i in range(9)]
    entries += [entry("large", f"large.m{i}", SMALL_LIBRARY // 10) for i in range(40)]
    entries += [entry("large", "large.README", 100)]
    placed = split_of(entries)
    assert {s for (library, _), s in placed.items() if library == "small"} == {"train"}
    assert {s for (library, _), s in placed.items() if library == "large"} == set(SHARES)
    assert placed["large", "large.README"] == "train"
    assert len(placed) == 50
