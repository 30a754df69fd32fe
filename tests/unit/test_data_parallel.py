"""didact.data.parallel: sides in braces, row by row, and files that do not belong together."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from didact.data.parallel import parallel, sides
from didact.errors import InputError


def test_braces_name_files(tmp_path: Path) -> None:
    assert sides("a/train.{en, de}.gz") == (Path("a/train.en.gz"), Path("a/train.de.gz"))
    assert sides("{src,tgt}-dev.txt") == (Path("src-dev.txt"), Path("tgt-dev.txt"))
    assert sides("a.tsv") == sides("a{b}.tsv") == ()
    odd = tmp_path / "a{b,c}.tsv"
    odd.write_text("x\n", encoding="utf-8")
    assert sides(odd) == ()
    with pytest.raises(InputError, match="2 pairs of braces"):
        sides("{a,b}/{c,d}")


def test_rows(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\n\nthree\u2028still three", encoding="utf-8")
    with gzip.open(tmp_path / "a.de", "wt", encoding="utf-8") as file:
        file.write("eins\r\nzwei\r\ndrei\r\n")
    (tmp_path / "a.de").rename(tmp_path / "a.de.gz")
    found = list(parallel((tmp_path / "a.en", tmp_path / "a.de.gz")))
    assert found == [(1, ("one", "eins")), (2, ("", "zwei")), (3, ("three\u2028still three", "drei"))]


@pytest.mark.parametrize(("first", "second"), [(5, 3), (3, 5), (0, 2)])
def test_unlike_lengths_name_both_counts_and_files(tmp_path: Path, first: int, second: int) -> None:
    for name, count in (("a.en", first), ("a.de", second)):
        (tmp_path / name).write_text("line\n" * count, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        list(parallel((tmp_path / "a.en", tmp_path / "a.de")))
    assert f"lines {first} in {tmp_path / 'a.en'}, {second} in {tmp_path / 'a.de'}" in str(caught.value)


def test_a_missing_side_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("line\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.de"):
        list(parallel((tmp_path / "a.en", tmp_path / "a.de")))
