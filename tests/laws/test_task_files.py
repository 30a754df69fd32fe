"""Labelled files as people have them: Windows line ends, byte order marks, cut short, mis-encoded, with typos.

Every task yields right items, or stops with one line that names file and row.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from task_tools import CORPUS

from didact.errors import InputError
from didact.tasks import Answer, Choose, Classify, Item, Tag, Task, Translate

SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": CORPUS[0],
                    "qas": [
                        {"id": "a", "question": "Who?", "answers": [{"text": "The cat", "answer_start": 0}]},
                        {"id": "b", "question": "Why?", "answers": []},
                    ],
                }
            ],
        }
    ],
}
CHOICES = [{"context": "who", "choices": ["won", "sat"], "label": n} for n in (0, 1)]
CONLLU = "".join(
    f"# sent_id = {s}\n1\tThe\t_\tDET\t_\t_\t0\t_\t_\t_\n2\tcafé\t_\tNOUN\t_\t_\t1\t_\t_\t_\n\n" for s in "ab"
)
COLUMNS = {"words": "form", "tags": "upos"}

# name -> (task, file's name, contents, (what to replace, by what, row, what is said) for a typo and a wrong column)
FILES: dict[str, tuple[Task, str, str, list[tuple[str, str, int | None, str]]]] = {
    "classify tsv": (
        Classify(),
        "a.tsv",
        'text\tlabel\ngood "café"\tpos\nbad\tneg\n',
        [
            ("\tneg", "\tnge", 3, "found label 'nge'; expected one of neg, pos"),
            ("text\t", "txt\t", 2, "expected 'text'"),
        ],
    ),
    "pair csv": (
        Classify("regression", columns={"text_b": "b"}),
        "a.csv",
        'text,b,label\n"one, two",café,1.5\nbad,"say ""hi""",-2\n',
        [(",-2", ",x2", 3, "expected a number"), ("text,b", "text,c", 2, "expected 'b'")],
    ),
    "classify jsonl": (
        Classify("multiple"),
        "a.jsonl",
        '{"text": "café", "label": ["x", "y"]}\n{"text": "bad", "label": []}\n',
        [('"y"', '"z"', 1, "found label 'z'; expected one of x, y"), ('"label": []', '"lbl": []', 2, "'label'")],
    ),
    "tag conll": (
        Tag(columns={"words": 0, "tags": 1}),
        "a.conll",
        "Marie B-P\nCurie I-P\n\ncafé O\nParis B-P\n\n",
        [("café O", "café Q", 4, "found tag 'Q'; expected one of B-P, I-P, O"), ("Curie I-P", "Curie", 2, "1 columns")],
    ),
    "tag conllu": (
        Tag(columns=COLUMNS),
        "a.conllu",
        CONLLU,
        [
            ("sent_id = b\n1\tThe\t_\tDET", "sent_id = b\n1\tThe\t_\tDTE", 6, "found tag 'DTE'"),
            ("café\t_", "café", 3, "9 columns"),
        ],
    ),
    "answer squad": (
        Answer(),
        "a.json",
        json.dumps(SQUAD, ensure_ascii=False),
        [('"The cat"', '"The dog"', 1, "not in the context"), ('"context"', '"contxt"', 1, "no 'context'")],
    ),
    "choose jsonl": (
        Choose(),
        "a.jsonl",
        "".join(json.dumps(c) + "\n" for c in CHOICES),
        [
            ('"label": 1', '"label": 2', 2, "found label '2'; expected one of 0, 1"),
            ('"choices"', '"chs"', 1, "'choices'"),
        ],
    ),
    "translate tsv": (
        Translate(columns={"source": 0, "target": 1}),
        "a.tsv",
        "a café\tein Café\nbad\tschlecht\n",
        [("\tschlecht", "\t", 2, "an empty target"), ("\tschlecht", "", 2, "1 field")],
    ),
    "translate jsonl": (
        Translate(columns={"source": "en"}),
        "a.jsonl",
        '{"en": "café", "target": ["Café", "Kaffee"]}\n{"en": "bad", "target": "schlecht"}\n',
        [('"en": "bad"', '"en": ""', 2, "an empty source"), ('"target": "schl', '"de": "schl', 2, "'target'")],
    ),
}
EVERY = pytest.mark.parametrize("name", FILES)


def given(name: str, folder: Path) -> tuple[Task, Path, bytes, list[Item]]:
    task, file, text, _ = FILES[name]
    path = folder / file
    path.write_text(text, encoding="utf-8", newline="")
    items = task.items(path)
    return task.learn(items), path, text.encode(), items


@EVERY
@pytest.mark.parametrize("change", ["windows", "mark", "both"])
def test_line_ends_and_byte_order_marks(name: str, change: str, tmp_path: Path) -> None:
    task, path, content, items = given(name, tmp_path)
    if change != "mark":
        content = content.replace(b"\n", b"\r\n")
    path.write_bytes((b"\xef\xbb\xbf" if change != "windows" else b"") + content)
    assert task.items(path) == items


def items_or_stop(task: Task, path: Path) -> list[Item] | None:
    """None where reading stops and names the file."""
    try:
        return task.items(path)
    except InputError as problem:
        if str(problem.file) != str(path):
            raise
        return None


@EVERY
def test_cut_short_anywhere(name: str, tmp_path: Path) -> None:
    """A prefix of the items, or a clear stop. (A CoNLL file cut between two words has a shorter last sentence.)"""
    task, path, content, items = given(name, tmp_path)
    for end in range(len(content)):
        path.write_bytes(content[:end])
        found = items_or_stop(task, path)
        if found is not None:
            assert found[:-1] == items[: len(found) - 1]
            last, whole = found[-1], items[len(found) - 1]
            if isinstance(task, Tag):
                n = len(last.fields["words"])
                assert last.gold == whole.gold[:n]
                assert last.fields["words"] == whole.fields["words"][:n]
            elif isinstance(task, Translate) and path.suffix == ".tsv":
                assert whole.gold[0].startswith(last.gold[0])
            elif isinstance(task, Classify) and task.problem == "regression":
                assert replace(last, gold=None) == replace(whole, gold=None)  # "1.5" cut to "1." is a number still
            else:
                assert last == whole


@EVERY
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\x00"])
def test_not_utf8(name: str, bad: bytes, tmp_path: Path) -> None:
    task, path, content, _ = given(name, tmp_path)
    middle = content.index(b"a", len(content) // 2)
    path.write_bytes(content[:middle] + bad + content[middle:])
    with pytest.raises(InputError) as caught:
        task.items(path)
    assert str(caught.value).startswith(f"{path}:{content[:middle].count(10) + 1}: ")
    assert "\n" not in str(caught.value)


@EVERY
@pytest.mark.parametrize("which", [0, 1])
def test_typos_and_wrong_columns(name: str, which: int, tmp_path: Path) -> None:
    task, path, content, _ = given(name, tmp_path)
    old, new, row, said = FILES[name][3][which]
    assert content.decode().count(old) >= 1
    path.write_text(content.decode().replace(old, new), encoding="utf-8", newline="")
    with pytest.raises(InputError) as caught:
        task.items(path)
    assert caught.value.row == row, str(caught.value)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{row}: ")


@EVERY
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty(name: str, content: bytes, tmp_path: Path) -> None:
    task, path, _, _ = given(name, tmp_path)
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        task.items(path)


@EVERY
def test_no_file(name: str, tmp_path: Path) -> None:
    task: Any = FILES[name][0]
    with pytest.raises(InputError, match="no such file"):
        task.items(tmp_path / f"none-{FILES[name][1]}")
    with pytest.raises(InputError, match="a folder"):
        task.items(tmp_path)
