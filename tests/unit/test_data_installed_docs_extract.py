from __future__ import annotations

from pathlib import Path

import pytest
from installed_docs_tools import site_packages

from didact.data.installed_docs.extract import Extraction, checksum, extract


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return site_packages(tmp_path / "site")


def read(tree: Path, cache: Path | None = None, processes: int = 1) -> Extraction:
    return extract(cache, [str(tree)], processes)


def test_any_number_of_processes_gives_the_same(tree: Path) -> None:
    one, two = read(tree), read(tree, processes=2)
    assert checksum(one.entries) == checksum(two.entries)
    assert one.counts == two.counts
    assert {e.library for e in one.entries} == {"numpy", "scipy"}
    assert one.versions == {"numpy": "1.0", "scipy": "2.0"}
    assert one.characters > 10_000


def test_the_cache_is_used_and_equal(tree: Path, tmp_path: Path) -> None:
    made = read(tree, tmp_path / "cache")
    (tree / "numpy" / "part0" / "m0.py").unlink()
    assert read(tree, tmp_path / "cache") == made
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".zst"]


def test_failures_and_what_is_dropped_are_counted(tree: Path) -> None:
    before = read(tree)
    (tree / "numpy" / "bad.py").write_text('"""Some text."""\ndef f(:\n')
    (tree / "numpy" / "bytes.py").write_bytes(b'"""\xff\xfe is no text here."""\n')
    (tree / "numpy" / "copy.py").write_text((tree / "numpy" / "part0" / "m0.py").read_text())
    (tree / "numpy" / "short.py").write_text('"""Short."""\n')
    (tree / "numpy" / "table.py").write_text('"""1 2 3 | 4 5 6 | 7 8 9 | ++++ ---- ====="""\n')
    now = read(tree)
    assert now.counts["files_failed"] == 2
    assert len(now.failures) == 2
    assert now.failures[0].startswith("numpy.bad: SyntaxError")
    assert now.counts["dropped_repeated"] == before.counts.get("dropped_repeated", 0) + 7
    assert (now.counts["dropped_short"], now.counts["dropped_not_language"]) == (1, 1)
    found = now.counts["found"] - sum(n for what, n in now.counts.items() if what.startswith("dropped"))
    assert found == now.counts["entries"] == len(now.entries) == len(before.entries)


def test_readmes_are_entries(tree: Path) -> None:
    readmes = [e for e in read(tree).entries if e.kind == "readme"]
    assert [e.id for e in readmes] == ["numpy.README", "scipy.README"]
    assert "for all" in readmes[0].doc
