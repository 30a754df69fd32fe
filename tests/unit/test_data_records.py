from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest
import zstandard

from didact.data.records import Record, records
from didact.errors import InputError

CONLLU = """# newdoc id = d1
# sent_id = s1
# text = They don't.
1\tThey\tthey\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_


# a remark
1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_
"""
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "A cat sat.",
                    "qas": [
                        {"id": "q1", "question": "Who?", "answers": [{"text": "cat", "answer_start": 2}]},
                        {"id": 2, "question": "Why?", "answers": [], "is_impossible": True},
                    ],
                },
                {"context": "Dogs run.", "qas": [{"question": "Which?"}]},
            ],
        }
    ],
}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", '\ufefftext\tlabel\r\n"quoted" and \'so\'\t1\r\n"\t0\r\n\t1\r\n')
    found = list(records(path))
    assert found == [
        Record(2, {"text": "\"quoted\" and 'so'", "label": "1"}),
        Record(3, {"text": '"', "label": "0"}),
        Record(4, {"text": "", "label": "1"}),
    ]


def test_csv_is_rfc_4180(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", 'text,label\r\n"a, b",1\r\n"say ""hi""",0\r\n"two\r\nlines\n\n",1\r\n,\r\nplain,"x"\r\n\r\n'
    )
    found = list(records(path))
    assert [r.fields["text"] for r in found] == ["a, b", 'say "hi"', "two\nlines\n\n", "", "plain"]
    assert [r.fields["label"] for r in found] == ["1", "0", "1", "", "x"]
    assert [r.row for r in found] == [2, 3, 4, 8, 9]


def test_fields_have_no_greatest_size(tmp_path: Path) -> None:
    long = "x" * 300_000
    path = write(tmp_path / "a.csv", f'text,label\n"{long},",1\n')
    assert next(records(path)).fields["text"] == long + ","


def test_files_without_names_of_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "gj04\t1\t\tSome sentence.\ngj04\t0\t*\tOther.\n")
    assert next(records(path)).fields == {0: "gj04", 1: "1", 2: "", 3: "Some sentence."}
    path = write(tmp_path / "b.tsv", "Hello.\tHallo.\nYes.\tJa.\n")
    assert len(list(records(path))) == 1  # nothing says that the first row is not one of names
    assert [r.row for r in records(path, header=False)] == [1, 2]
    path = write(tmp_path / "c.csv", "1,2\n3,4\n")
    assert [r.fields for r in records(path, header=True)] == [{"1": "3", "2": "4"}]


def test_json(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1, "words": ["x"]}, {"text": "é", "label": None}]
    lines = "\n".join(json.dumps(r) for r in rows)
    for name, text in (
        ("a.jsonl", lines + "\n\n"),
        ("a.ndjson", lines),
        ("lines.json", lines),
        ("one.json", json.dumps(rows)),
        ("pretty.json", json.dumps(rows, indent=2)),
        ("data.json", json.dumps({"version": 1, "data": rows})),
    ):
        found = list(records(write(tmp_path / name, text)))
        assert [r.fields for r in found] == rows
        assert [r.row for r in found] == [1, 2]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a", None], "n": [[1], [2, 3]]}), tmp_path / "a.parquet", row_group_size=1)
    assert list(records(tmp_path / "a.parquet")) == [
        Record(1, {"text": "a", "n": [1]}),
        Record(2, {"text": None, "n": [2, 3]}),
    ]


def test_conll(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nNo UH O\n")
    assert list(records(path)) == [
        Record(3, {0: ["EU", "rejects"], 1: ["NNP", "VBZ"], 2: ["B-ORG", "O"]}),
        Record(7, {0: ["No"], 1: ["UH"], 2: ["O"]}),
    ]
    path = write(tmp_path / "b.txt", "New York\tB-LOC\n#\tO\n")
    assert next(records(path, format="conll")).fields == {0: ["New York", "#"], 1: ["B-LOC", "O"]}


def test_conllu(tmp_path: Path) -> None:
    first, second = records(write(tmp_path / "a.conllu", CONLLU))
    assert (first.row, second.row) == (4, 13)
    assert first.fields["form"] == ["They", "do", "n't", "."]
    assert first.fields["upos"] == ["PRON", "AUX", "PART", "PUNCT"]
    assert first.fields["ids"] == ["1", "2", "3", "4"]
    assert (first.fields["id"], first.fields["text"]) == ("s1", "They don't.")
    assert second.fields["lemma"] == ["yes"]
    assert "id" not in second.fields


def test_squad(tmp_path: Path) -> None:
    for name, format in (("a.json", None), ("b.txt", "squad")):
        found = list(records(write(tmp_path / name, json.dumps(SQUAD)), format=format))
        assert [r.row for r in found] == [1, 2, 3]
        assert found[0].fields == {
            "id": "q1",
            "title": "T",
            "context": "A cat sat.",
            "question": "Who?",
            "answers": [{"text": "cat", "answer_start": 2}],
        }
        assert found[1].fields["id"] == "2"
        assert found[1].fields["is_impossible"] is True
        assert "answers" not in found[2].fields


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.tsv", "x\ty\n1\t2\n", 1),
        ("a.csv", "x,y\n1,2\n", 1),
        ("a.jsonl", '{"x": 1}\n{"x": 2}\n', 2),
        ("a.conllu", CONLLU, 2),
        ("a.json", json.dumps(SQUAD), 3),
    ],
)
def test_compressed(tmp_path: Path, suffix: str, compress: object, name: str, text: str, count: int) -> None:
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(compress(text.encode()))  # type: ignore[operator]
    assert len(list(records(path))) == count


def test_a_hub_data_set(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write(tmp_path / "train.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n')
    assert list(records(f"hub:{tmp_path}:train")) == [
        Record(1, {"text": "a", "label": 1}),
        Record(2, {"text": "b", "label": 0}),
    ]


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("classify/sst2/dev.tsv", {}, 872),
        ("classify/cola/dev.tsv", {"header": False}, 516),
        ("classify/zh-book-review/dev.tsv", {}, 8000),
        ("pair/sick/SICK.txt", {"format": "tsv"}, 9927),
        ("pair/zh-ocnli/dev.json", {}, 3000),
        ("qa/qamr/filtered_dev.tsv", {"header": False}, 18908),
        ("qa/qamr/wiki-sentences.tsv", {"header": False}, 4923),
        ("qa/policyqa/dev.json", {}, 3809),
        ("qa/zh-drcd/DRCD_dev.json", {}, 3524),
        ("qa/subjqa/electronics/splits/dev.csv", {}, None),
        ("tag/en-ewt/dev.conllu", {}, 2001),
        ("tag/zh-gsdsimp/dev.conllu", {}, 500),
        ("seq2seq/en-zh-tatoeba/cmn.txt", {"format": "tsv", "header": False}, 26373),
        ("fewshot/zh-bustm/test_public.json", {}, None),
    ],
)
def test_real_files(shared_data: Path, name: str, options: dict[str, object], count: int | None) -> None:
    found = list(records(shared_data / name, **options))  # type: ignore[arg-type]
    assert count is None or len(found) == count
    assert len({tuple(sorted(map(str, r.fields))) for r in found}) <= 2 or "conllu" in name


def test_the_suffix_says_the_format(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat", "x\ty\n1\t2\n")
    with pytest.raises(InputError, match="expected `format`, one of tsv, csv"):
        list(records(path))
    with pytest.raises(InputError, match="expected one of tsv, csv"):
        list(records(path, format="xml"))
    assert next(records(path, format="tsv")).fields == {"x": "1", "y": "2"}
