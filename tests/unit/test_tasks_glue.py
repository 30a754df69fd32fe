"""GLUE's nine tasks from files in the official formats; its average; its leaderboard's files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import get_args

import pytest
from task_tools import perfect, tokenizer

from didact.errors import InputError
from didact.tasks import Glue, to_json
from didact.tasks.glue import MEMBERS, Name, average, task_score, write_board, write_submission

# name -> (train.tsv or dev.tsv, test.tsv): the headers of the official files, one or two rows each, made up here.
FILES = {
    "cola": ('gj04\t1\t\tThe cat sat.\ngj04\t0\t*\tCat the "sat.\n', "index\tsentence\n0\tThe cat sat.\n"),
    "sst2": ("sentence\tlabel\ngood film \t1\nbad plot \t0\n", "index\tsentence\n0\tgood film\n"),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        '1\t7\t8\tA cat "sat\tThe cat sat\n0\t9\t10\tA mat\tA film\n',
        "\ufeffindex\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tA cat\tThe cat\n",
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain\tf\t2012\t1\tnone\tnone\tA cat\tThe cat\t5.000\n"
        "1\tmain\tf\t2012\t2\tnone\tnone\tA mat\tA film\t0.250\n",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\n"
        "0\tmain\tf\t2012\t1\tnone\tnone\tA cat\tThe cat\n",
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t1\t2\tWho won?\tWho won it?\t1\n2\t3\t4\tWho\n"
        "3\t5\t6\tWhy?\tWho?\t0\n",
        "id\tquestion1\tquestion2\n0\tWho won?\tWhy?\n",
    ),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
        "0\t1\t1n\tfiction\t(\t(\t(\t(\tA cat\tA mat\tneutral\tneutral\n"
        "1\t1\t1n\tfiction\t(\t(\t(\t(\tA\tB\tx\tentailment\n"
        "2\t1\t1c\tfiction\t(\t(\t(\t(\tA cat\tNo cat\tcontradiction\tcontradiction\n",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\n0\t1\t1\tfiction\t(\t(\t(\t(\tA cat\tA mat\n",
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\tWho sat?\tA cat sat\tentailment\n1\tWho?\tA mat\tnot_entailment\n",
        "index\tquestion\tsentence\n0\tWho?\tA cat\n",
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel\n0\tA cat sat\tA cat\tentailment\n1\tA\tB\tnot_entailment\n",
        "index\tsentence1\tsentence2\n0\tA cat\tA mat\n",
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel\n0\tA cat sat\tIt sat\t1\n1\tA\tB\t0\n",
        "index\tsentence1\tsentence2\n0\tA cat\tA mat\n",
    ),
    "ax": (
        "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tneutral\n1\tA\tB\tentailment\n2\tA\tB\tcontradiction\n",
        "index\tsentence1\tsentence2\n0\tA cat\tA mat\n",
    ),
}


def test_every_name() -> None:
    assert set(get_args(Name)) == set(MEMBERS) == set(FILES)
    with pytest.raises(InputError, match="GLUE task 'mnlii'"):
        Glue("mnlii")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MEMBERS)
def test_official_files(name: str, tmp_path: Path) -> None:
    task = Glue(name)  # type: ignore[arg-type]
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text(FILES[name][0], encoding="utf-8")
    test.write_text(FILES[name][1], encoding="utf-8")
    dataset = task.learn(task.items(train)).read(train, tokenizer("wordpiece"))
    assert {i.gold for i in dataset.items} == set(MEMBERS[name].labels or (5.0, 0.25))
    assert dataset.counts == ({"rows cut short, left out": 1} if name == "qqp" else {})
    assert ("text_b" in dataset.items[0].fields) is (name not in ("cola", "sst2"))
    found = task.score(task.decode(dataset, perfect(task, dataset)), dataset.items)
    assert found == pytest.approx(dict.fromkeys(MEMBERS[name].scores, 1.0))
    assert task_score(name, found) == pytest.approx(1.0)
    (unlabelled,) = task.items(test, labelled=False)
    assert unlabelled.fields["text"]
    assert unlabelled.gold is None


def test_quotes_are_characters(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(FILES["mrpc"][0], encoding="utf-8")
    assert Glue("mrpc").items(path)[0].fields["text"] == 'A cat "sat'


def test_a_typo_in_dev(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text(FILES["rte"][0].replace("not_entailment", "not entailment"), encoding="utf-8")
    with pytest.raises(InputError, match=r"dev\.tsv:3: found label 'not entailment'; expected one of entailment, not_"):
        Glue("rte").items(path)


SCORES = {
    "cola": {"matthews": 0.6},
    "sst2": {"accuracy": 0.94},
    "mrpc": {"f1": 0.88, "accuracy": 0.84},
    "stsb": {"pearson": 0.87, "spearman": 0.86},
    "qqp": {"f1": 0.72, "accuracy": 0.89},
    "mnli": {"accuracy": 0.85},
    "mnli_mismatched": {"accuracy": 0.84},
    "qnli": {"accuracy": 0.92},
    "rte": {"accuracy": 0.70},
    "wnli": {"accuracy": 0.65},
}


def test_average() -> None:
    nine = [0.6, 0.94, 0.86, 0.865, 0.805, 0.845, 0.92, 0.70, 0.65]
    assert average(SCORES) == pytest.approx(sum(nine) / 9)
    assert average({**SCORES, "ax": {"matthews": 0.1}}) == pytest.approx(sum(nine) / 9)
    with pytest.raises(InputError, match="no scores of mnli_mismatched"):
        average({name: score for name, score in SCORES.items() if name != "mnli_mismatched"})


def test_leaderboard_files(tmp_path: Path) -> None:
    path = write_board("STS-B", [{"label": 5.3}, {"label": -1.0}, {"label": 2.5}], tmp_path)
    assert path.read_text() == "index\tprediction\n0\t5.000\n1\t0.000\n2\t2.500\n"
    for board in [board for member in MEMBERS.values() for board in member.boards if board != "STS-B"]:
        write_board(board, [{"label": "entailment"}], tmp_path)
    with zipfile.ZipFile(write_submission(tmp_path)) as archive:
        names = ("AX", "CoLA", "MNLI-m", "MNLI-mm", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI")
        assert sorted(archive.namelist()) == sorted(f"{name}.tsv" for name in names)
    with pytest.raises(InputError, match="leaderboard file 'MNLI'"):
        write_board("MNLI", [], tmp_path)
    (tmp_path / "QQP.tsv").unlink()
    with pytest.raises(InputError, match="no QQP"):
        write_submission(tmp_path)


def test_json() -> None:
    assert to_json(Glue("rte", 64)) == {
        "kind": "glue",
        "name": "rte",
        "length": 64,
        "dropout": None,
        "start": None,
        "end": None,
    }


def test_the_real_dev_set(shared_data: Path) -> None:
    assert len(Glue("sst2").items(shared_data / "classify" / "sst2" / "dev.tsv")) == 872
