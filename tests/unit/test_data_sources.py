from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from didact.data import installed_docs
from didact.data.document import Document
from didact.data.readers import documents, shards
from didact.data.sources import File, Hub, InstalledDocs, format_of, hub, resolve
from didact.errors import InputError


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("hub:imdb", Hub("imdb")),
        ("hub:imdb:train", Hub("imdb", None, "train")),
        ("hub:user/set:config:train", Hub("user/set", "config", "train")),
        ("hub:user/set:config:", Hub("user/set", "config")),
        ("hub:user/set#body", Hub("user/set", column="body")),
        ("hub:user/set:train#body", Hub("user/set", None, "train", "body")),
    ],
)
def test_names_of_hub_data_sets(name: str, found: Hub) -> None:
    assert hub(name) == found
    assert resolve(name) == ([found], [])


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.txt", "text"), ("a.JSONL.gz", "jsonl"), ("a.csv.zst", "csv"), ("a.parquet", "parquet"), ("a.bin", None)],
)
def test_formats_by_suffix(name: str, format: str | None) -> None:
    assert format_of(Path(name)) == format


def test_several_sources_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.log"):
        (tmp_path / name).write_text("x")
    found, unread = resolve([str(tmp_path / "b.txt"), "installed-docs", tmp_path])
    assert found == [
        File(tmp_path / "b.txt", "b.txt", "text"),
        InstalledDocs(),
        File(tmp_path / "a.txt", "a.txt", "text"),
        File(tmp_path / "b.txt", "b.txt", "text"),
    ]
    assert unread == ["c.log"]


def test_ids_do_not_depend_on_where_the_corpus_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("here", "there/deeper"):
        (tmp_path / where / "sub").mkdir(parents=True)
        (tmp_path / where / "sub" / "a.txt").write_text("one\n\ntwo")
    names = [[d.id for d in documents(tmp_path / where)] for where in ("here", "there/deeper")]
    assert names[0] == names[1] == ["sub/a.txt@0", "sub/a.txt@5"]
    monkeypatch.chdir(tmp_path / "here")
    assert [d.id for d in documents("**/*.txt")] == names[0]
    assert [d.id for d in documents(str(tmp_path / "here" / "s*" / "*.txt"))] == names[0]


def test_the_embedded_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> Iterator[Document]:
        yield Document("module", "One.\nTwo.", ("One.", "Two."))

    monkeypatch.setattr(installed_docs, "documents", told)
    (found,) = documents("installed-docs")
    assert found.id == "module"
    assert len(shards("installed-docs")) == 1


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match="cannot be opened"):
        shards(f"hub:{tmp_path / 'nothing'}")
