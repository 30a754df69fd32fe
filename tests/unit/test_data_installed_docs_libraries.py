from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installed_docs_tools import site_packages

from didact.data.installed_docs.libraries import LIBRARIES, fingerprint, installed


def test_every_library_has_one_name() -> None:
    names = [library.name for library in LIBRARIES]
    assert len(set(names)) == len(names)


def test_what_is_found_is_not_imported(tmp_path: Path) -> None:
    site_packages(tmp_path)
    (tmp_path / "numpy" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    before = set(sys.modules)
    found = installed([str(tmp_path)])
    assert [(i.library.name, i.version) for i in found] == [("numpy", "1.0"), ("scipy", "2.0")]
    assert not {m for m in set(sys.modules) - before if m.startswith(("numpy.", "scipy."))}


def test_files_are_in_order_without_tests_and_copies(tmp_path: Path) -> None:
    numpy = installed([str(site_packages(tmp_path))])[0]
    modules = [module for _, module in numpy.files()]
    assert modules == sorted(modules)
    assert "numpy" in modules
    assert "numpy.part0.m0" in modules
    assert not any("tests" in m or "_vendor" in m for m in modules)


def test_a_stub_counts_only_without_source(tmp_path: Path) -> None:
    site_packages(tmp_path)
    for name in ("part0/m0.pyi", "part0/compiled.pyi"):
        (tmp_path / "numpy" / name).write_text('"""Some words for a stub."""\n')
    files = {path.name for path, _ in installed([str(tmp_path)])[0].files()}
    assert "compiled.pyi" in files
    assert "m0.pyi" not in files


def test_the_fingerprint_follows_versions(tmp_path: Path) -> None:
    found = installed([str(site_packages(tmp_path))])
    mark = fingerprint(found)
    assert mark == fingerprint(installed([str(tmp_path)]))
    (tmp_path / "numpy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.1\n")
    assert fingerprint(installed([str(tmp_path)])) != mark


@pytest.mark.parametrize("name", ["python", "torch", "numpy"])
def test_the_real_ones_are_here(name: str) -> None:
    found = {i.library.name: i for i in installed()}
    assert found[name].version != "unknown"
    assert next(iter(found[name].files()))
