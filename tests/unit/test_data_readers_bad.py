"""Bad corpora: one line with file and row, nothing skipped."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from didact.data.readers import documents, shards
from didact.errors import InputError

# name, bytes, row, what the line says
BAD: tuple[tuple[str, bytes, int | None, str], ...] = (
    ("a.txt", b"good\n\nbad \xff\n", 3, "not UTF-8"),
    ("a.txt", "é".encode("utf-16"), 1, "UTF-16"),
    ("a.txt", b"a\x00b", 1, "NUL"),
    ("a.txt.gz", gzip.compress(b"text\n" * 1000)[:-9], None, "too early"),
    ("a.txt.gz", b"not gzip", None, "damaged"),
    ("a.txt.xz", b"\xfd7zXZ\x00", None, "too early"),
    ("a.txt.zst", b"\x28\xb5\x2f\xfd", None, "too early"),
    ("a.jsonl", b'{"text": "x"}\n{"text": "y"\n', 2, "not JSON"),
    ("a.jsonl", b'{"text": "x"}\n["y"]\n', 2, "an object"),
    ("a.jsonl", b'{"text": "x"}\n{"test": "y"}\n', 2, "a column 'text'"),
    ("a.jsonl", b'{"text": 3}\n', 1, "int in column 'text'"),
    ("a.jsonl", b'{"text": "\\ud800"}\n', 1, "surrogate"),
    ("a.jsonl", b'\n\n{"text": "\xff"}\n', 3, "not UTF-8"),
    ("a.jsonl", b"[" * 100_000 + b"\n", 1, "JSON"),
    ("a.json", b'[{"text": "x"}, {"text": 1}]', 2, "int in column"),
    ("a.json", b'{"text": "x"}', None, "a list of objects"),
    ("a.json", b'[{"text": "x"},\n {"text": "y"', 2, "not JSON"),
    ("a.csv", b"id,text\n1,x\n2,y,z\n", 3, "3 fields; expected 2"),
    ("a.csv", b"id,text\n1,x\n2\n", 3, "1 field; expected 2"),
    ("a.csv", b'id,text\n1,"never closed\n2,x\n', 2, "never closed"),
    ("a.csv", b'id,text\n1,a "quote" inside\n', 2, "a quote inside a field"),
    ("a.csv", b'id,text\n1,"x"y\n', 2, "a quote inside a field"),
    ("a.csv", b"id,text,id\n1,x,2\n", 1, "two columns named 'id'"),
    ("a.csv", b"id,body\n1,x\n", 2, "a column 'text'"),
    ("a.csv", b"id,text\n1,x\n\n2,y\n", 3, "an empty line"),
    ("a.tsv", b"id\ttext\n1\tx\ty\n", 2, "3 fields; expected 2"),
    ("a.parquet", b"PAR1 this is not", None, "Parquet"),
    ("a.parquet", b"", None, "Parquet"),
    ("a.txt", b"", None, "no document"),
    ("a.txt", b"\n \n\t\n", None, "no document"),
    ("a.csv", b"", None, "no document"),
    ("a.csv", b"id,text\n", None, "no document"),
    ("a.jsonl", b"\n\n", None, "no document"),
)


@pytest.mark.parametrize(("name", "data", "row", "says"), BAD, ids=[f"{n}-{s}" for n, _, _, s in BAD])
def test_bad_files(tmp_path: Path, name: str, data: bytes, row: int | None, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        list(documents(path))
    assert caught.value.row == row
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_parquet_cut_short(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"row {i} " * 50 for i in range(1000)]}), path, compression="zstd")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="Parquet"):
        list(documents(path))
    damaged = bytearray(data)
    for i in range(100, 1400):
        damaged[i] ^= 0x5A
    path.write_bytes(bytes(damaged))
    with pytest.raises(InputError, match="Parquet"):
        list(documents(path))
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress(data))
    with pytest.raises(InputError, match="compressed Parquet"):
        list(documents(tmp_path / "b.parquet.gz"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.txt", "no such file"),
        ("*.nothing", "no such file"),
        ("folder", "no file to read"),
        ("hub:", "expected hub:NAME"),
        ("hub:a:b:c:d", "expected hub:NAME"),
    ],
)
def test_corpora_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "image.png").write_bytes(b"x")
    with pytest.raises(InputError, match=says):
        shards(name)


def test_no_corpus_and_no_such_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no corpus"):
        list(documents([]))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="expected one of paragraphs, lines, sentences, file"):
        list(documents(tmp_path, layout="verses"))  # type: ignore[arg-type]
