"""Bad files of records: right records or one line with file and row."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.data.records import records
from didact.errors import InputError

TEN = "1\tx\tx\tX\tX\t_\t0\t_\t_\t_"


def squad(**changes: object) -> bytes:
    """SQuAD's JSON of one question; None leaves a key out."""
    asked: dict[str, object] = {"id": "1", "question": "Q?", "answers": [{"text": "x", "answer_start": 0}]}
    paragraph: dict[str, object] = {"context": "x", "qas": [asked]}
    for key, value in changes.items():
        holder = paragraph if key in ("context", "qas") else asked
        if value is None:
            holder.pop(key)
        else:
            holder[key] = value
    return json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}).encode()


BAD: tuple[tuple[str, bytes, int | None, str], ...] = (
    ("a.tsv", b"", None, "no record"),
    ("a.tsv", b"text\tlabel\n", None, "no record"),
    ("a.tsv", b"text\tlabel\nx\n", 2, r"1 field; expected 2 as in the first row \(text, label\)"),
    ("a.tsv", b"text\tlabel\nx\t1\ny\t1\t\n", 3, "3 fields; expected 2"),
    ("a.tsv", b"text\tlabel\nx\t1\n\ny\t1\n", 3, "an empty line"),
    ("a.tsv", b"text\tlabel\nx\t1\n\xe9t\xe9\t1\n", 3, "not UTF-8"),
    ("a.tsv", "text\tlabel\nx\t1\n".encode("utf-16"), 1, "UTF-16"),
    ("a.tsv.gz", gzip.compress(b"text\tlabel\nx\t1\n")[:-4], None, "too early"),
    ("a.csv", b'text,label\n"x,1\ny,2\n', 2, "never closed"),
    ("a.csv", b'text,label\nx,1\n"x" y,1\n', 3, "a quote inside"),
    ("a.csv", b'text,label\nx "y,1\n', 2, "a quote inside"),
    ("a.csv", b'text,label\n"x","y","z"\n', 2, "3 fields; expected 2"),
    ("a.csv", b'text,label\n"two\nlines",1,2\n', 2, "3 fields"),
    ("a.jsonl", b"", None, "no record"),
    ("a.jsonl", b'{"a": 1}\n{"a": 1', 2, "not JSON"),
    ("a.jsonl", b'{"a": 1}\n\n3\n', 3, "expected an object"),
    ("a.jsonl", b'{"a": "\\udc00"}', 1, "surrogate"),
    ("a.json", b"", 1, "not JSON"),
    ("a.json", b"[]", None, "no record"),
    ("a.json", b'[{"a": 1}, 2]', 2, "expected an object"),
    ("a.json", b'{"a": 1}', None, "a list of objects"),
    ("a.json", b'[{"a": 1},', 1, "not JSON"),
    ("a.parquet", b"", None, "Parquet"),
    ("a.parquet", b"PAR1" + bytes(100), None, "Parquet"),
    ("a.conll", b"EU NNP O\nrejects O\n", 2, "2 columns; expected 3"),
    ("a.conll", b"\n\n", None, "no record"),
    ("a.conll", b"-DOCSTART- O\n\n", None, "no record"),
    ("a.conllu", b"1\tx\tX\n", 1, "3 columns; expected ten"),
    ("a.conllu", f"{TEN}\n{TEN}\n".encode(), 2, "word id '1'; expected 2"),
    ("a.conllu", TEN.replace("1", "one").encode(), 1, "word id 'one'; expected 1"),
    ("a.conllu", b"# only a comment\n", None, "no record"),
    ("a.json", squad(context=None), 1, "no 'context'"),
    ("a.json", squad(question=3), 1, "another 'question'"),
    ("a.json", squad(answers={}), 1, "another 'answers'"),
    ("a.json", squad(answers=[{"text": "x", "answer_start": "0"}]), 1, "answer_start '0'"),
    ("a.json", squad(answers=[{"answer_start": 0}]), 1, "no 'text'"),
    ("a.json", squad(qas=None), 1, "no 'qas'"),
    ("a.json", squad(qas=[]), None, "no record"),
)


@pytest.mark.parametrize(("name", "data", "row", "says"), BAD, ids=[f"{n}-{s}" for n, _, _, s in BAD])
def test_bad_files(tmp_path: Path, name: str, data: bytes, row: int | None, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        list(records(path))
    assert caught.value.row == row
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_squad_without_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("[]", "{}", '{"data": 3}', '{"data": [{"paragraphs": 3}]}', '{"data": [3]}'):
        path.write_text(text)
        with pytest.raises(InputError, match="SQuAD"):
            list(records(path, format="squad"))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("x\tx\nq\tr\n")
    with pytest.raises(InputError, match="two columns named 'x'") as caught:
        list(records(path, header=True))
    assert caught.value.row == 1
    assert len(list(records(path))) == 2  # unless told, a name that is there twice is no name


def test_folders_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(records(tmp_path / "none.tsv"))
    with pytest.raises(InputError, match="a folder"):
        list(records(tmp_path))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=40) | st.text(alphabet='a,"\t\n{}[]:1\r ', max_size=40).map(str.encode))
@pytest.mark.parametrize("format", ["tsv", "csv", "jsonl", "json", "conll", "conllu", "squad", "parquet"])
def test_whatever_the_bytes_records_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, format: str, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{format}"
    path.write_bytes(data)
    said = ""
    try:
        for record in records(path, format=format):
            assert isinstance(record.fields, dict)
            assert record.row >= 1
    except InputError as problem:
        said = str(problem)
    assert "\n" not in said
    assert not said or said.startswith(f"{path}:")


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.text(alphabet=st.sampled_from('ab",\n é'), max_size=6), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_csv_as_python_writes_it(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    import csv

    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "z"])
        writer.writerows(rows)
    assert [list(r.fields.values()) for r in records(path)] == rows
