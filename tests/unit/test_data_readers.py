from __future__ import annotations

import gzip
import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from didact.data import readers
from didact.data.document import Counts, Document
from didact.data.readers import Layout, documents, shards
from didact.errors import InputError

BLOCKS = "First line.\nSecond line.\n\n\n  \nAnother document.\n\nThird é中.\nIts end.\n"


def write_parquet(path: Path, columns: dict[str, list[object]], group: int = 2) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
@pytest.mark.parametrize(
    ("layout", "texts", "ids"),
    [
        ("paragraphs", ["First line.\nSecond line.", "Another document.", "Third é中.\nIts end."], [0, 30, 49]),
        ("sentences", ["First line.\nSecond line.", "Another document.", "Third é中.\nIts end."], [0, 30, 49]),
        ("lines", ["First line.", "Second line.", "Another document.", "Third é中.", "Its end."], [0, 12, 30, 49, 62]),
        ("file", [BLOCKS.rstrip("\n")], [0]),
    ],
)
def test_layouts_of_text(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], layout: Layout, texts: list[str], ids: list[int]
) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(compress(BLOCKS.encode()))
    counts = Counts()
    found = list(documents(path, layout=layout, counts=counts))
    assert [d.text for d in found] == texts
    assert [d.id for d in found] == [f"a.txt{suffix}@{i}" for i in ids]
    assert (counts.documents, counts.files, counts.empty_files) == (len(texts), 1, 0)
    assert counts.characters == sum(map(len, texts))
    assert counts.empty == (4 if layout == "lines" else 0)
    assert [d.breaks for d in found] == [layout != "file"] * len(texts)


def test_sentences_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One. Not two.\nTwo\n\nThree\n")
    first, second = documents(path, layout="sentences")
    assert first.sentences == ("One. Not two.", "Two")
    assert [first.text[a:b] for a, b in first.spans()] == ["One. Not two.", "Two"]
    assert second.spans() == [(0, 5)]


def test_sentences_are_found_where_the_corpus_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One. Two.\nA title\nThree.")
    (found,) = documents(path)
    assert [found.text[a:b] for a, b in found.spans()] == ["One.", "Two.", "A title", "Three."]
    (wrapped,) = documents(path, layout="file")
    assert [wrapped.text[a:b] for a, b in wrapped.spans()] == ["One.", "Two.", "A title\nThree."]


def test_crlf_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n\r\nthree\r\n".encode())
    assert [d.text for d in documents(path)] == ["one\ntwo", "three"]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_columns(tmp_path: Path, suffix: str) -> None:
    texts = ["one", "two, with a comma", "中文"]
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        write_parquet(path, {"id": [1, 2, 3], "body": texts})
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"body": t, "id": i}) + "\n" for i, t in enumerate(texts)))
    elif suffix == "json":
        path.write_text(json.dumps([{"body": t} for t in texts], indent=1))
    elif suffix == "csv":
        path.write_text("id,body\n" + "".join(f'{i},"{t}"\n' for i, t in enumerate(texts)))
    else:
        path.write_text("id\tbody\n" + "".join(f"{i}\t{t}\n" for i, t in enumerate(texts)))
    found = list(documents(path, column="body"))
    assert [d.text for d in found] == texts
    assert len({d.id for d in found}) == 3
    with pytest.raises(InputError, match="column 'text'") as caught:
        list(documents(path))
    assert (caught.value.file, caught.value.row) == (path, 2 if suffix in ("csv", "tsv") else 1)


def test_null_is_empty_and_a_list_is_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null}\n\n{"text": ["One.", "Two\\nlines.", " "]}\n{"text": "  "}\n{"text": "a\\r\\nb"}\n')
    counts = Counts()
    found = list(documents(path, counts=counts))
    assert [d.text for d in found] == ["One.\nTwo lines.", "a\nb"]
    assert found[0].sentences == ("One.", "Two lines.")
    assert counts.empty == 2
    assert "2 empty ones left out" in str(counts)


def test_folders_and_globs_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b/x.txt", "a.txt", "c.jsonl", "README.md", ".hidden.txt", ".git/x.txt", "empty.txt"):
        text = "" if name == "empty.txt" else f"text of {name}"
        (tmp_path / name).write_text(json.dumps({"text": text}) if name.endswith("jsonl") else text)
    counts = Counts()
    found = list(documents(tmp_path, counts=counts))
    assert [d.id for d in found] == ["a.txt@0", "b/x.txt@0", "c.jsonl@0"]
    assert (counts.unread, counts.files, counts.empty_files) == (["README.md"], 4, 1)
    assert "README.md" in str(counts)
    assert "1 files without a document" in str(counts)
    assert [d.id for d in documents(str(tmp_path / "**" / "*.txt"))] == ["a.txt@0", "b/x.txt@0"]
    assert [d.text for d in documents([tmp_path / "c.jsonl", tmp_path / "README.md"])] == [
        "text of c.jsonl",
        "text of README.md",
    ]


def test_shards_joined_are_the_corpus_whatever_their_size(tmp_path: Path) -> None:
    blocks = [
        f"Document {i}.\n" + "".join(f"Line {j} é中.\n" for j in range(i % 7)) + "\n" * (i % 3) for i in range(90)
    ]
    (tmp_path / "a.txt").write_text("\n".join(blocks))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": f"record {i}" * (i % 5)}) + "\n" for i in range(50)))
    write_parquet(tmp_path / "c.parquet", {"text": [f"row {i}" for i in range(20)]}, group=3)
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"zipped\n\ntwice\n"))
    (tmp_path / "e.csv").write_text("text\n" + "\n".join(f"csv {i}" for i in range(9)))
    for layout in ("paragraphs", "lines", "sentences", "file"):
        total = Counts()
        whole = list(documents(tmp_path, layout=layout, counts=total))
        for size in (1, 7, 100, 1000):
            pieces = shards(tmp_path, size, layout=layout)
            assert size > 100 or len(pieces) > 8
            again = pickle.loads(pickle.dumps(pieces))
            counts = Counts()
            found = []
            for shard in again:
                each = Counts()
                found += shard.documents(each)
                counts.add(each)
            assert found == whole
            assert counts == total


def test_errors_in_a_shard_name_the_row_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n' * 50 + "{broken\n")
    last = shards(path, 100)[-1]
    assert last.part is not None
    assert last.part[0] > 0
    with pytest.raises(InputError) as caught:
        list(last.documents())
    assert caught.value.row == 51


def test_documents_that_are_too_long_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST", 100)
    path = tmp_path / "a.txt"
    text = "".join(f"Sentence number {i}.\n" for i in range(30)) + "\n" + "word " * 50 + "\n"
    path.write_text(text)
    counts = Counts()
    found = list(documents(path, counts=counts))
    assert all(len(d.text) <= 100 for d in found)
    assert " ".join(" ".join(d.text.split()) for d in found) == " ".join(text.split())
    assert len({d.id for d in found}) == len(found)
    assert counts.cut > 0
    assert "cut" in str(counts)


@pytest.mark.parametrize("text", ["word " * 50, "字" * 230, "a\n" * 120, "x" * 99 + "\n" + "y" * 300])
def test_parts_of_a_document(text: str) -> None:
    parts = list(Document("a", text).parts(100))
    assert "".join("".join(p.text.split()) for p in parts) == "".join(text.split())
    assert max(len(p.text) for p in parts) <= 100
    assert [p.id for p in parts] == [f"a/{i}" for i in range(1, len(parts) + 1)]


def test_parts_keep_sentences() -> None:
    sentences = tuple(f"sentence {i}" for i in range(30))
    parts = list(Document("a", "\n".join(sentences), sentences).parts(100))
    assert tuple(s for p in parts for s in p.sentences or ()) == sentences
    assert all(p.text == "\n".join(p.sentences or ()) for p in parts)


def test_a_hub_data_set_from_a_local_folder(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "set"
    folder.mkdir()
    write_parquet(folder / "train-0.parquet", {"text": ["one", "two"], "other": ["x", "y"]})
    write_parquet(folder / "train-1.parquet", {"text": ["three", None], "other": ["z", "w"]})
    write_parquet(folder / "test.parquet", {"text": ["four"], "other": ["v"]})
    assert [d.text for d in documents(f"hub:{folder}")] == ["one", "two", "three"]
    assert [d.text for d in documents(f"hub:{folder}:test")] == ["four"]
    assert [d.text for d in documents(f"hub:{folder}:train#other")] == ["x", "y", "z", "w"]
    assert [d.text for s in shards(f"hub:{folder}") for d in s.documents()] == ["one", "two", "three"]
    with pytest.raises(InputError, match="cannot be opened"):
        list(documents(f"hub:{folder}:nosuch"))
    with pytest.raises(InputError, match="column 'title'"):
        list(documents(f"hub:{folder}#title"))


@pytest.mark.parametrize("name", ["en-wikinews.txt.xz", "zh-short.txt.xz"])
def test_real_corpora(shared_data: Path, name: str) -> None:
    counts = Counts()
    first = next(iter(documents(shared_data / "corpora" / name, counts=counts)))
    assert first.text
    assert first.spans()
