"""`didact fewshot`: from a task file to predictions, a report and one clear line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fewshot_tools import gpt

from didact import hub
from didact.cli.use import _numbers
from didact.errors import InputError
from didact.runs.fewshot import fewshot_file

VALUES: dict[str, Any] = {
    "fewshot": "reviews",
    "templates": ["Review: {text}\nSentiment: {answer}", "{text} {answer}"],
    "labels": {1: "good", 0: ["bad", "very bad"]},
    "examples": [{"text": f"a fine film {i}", "label": i % 2} for i in range(6)],
    "data": "questions.jsonl",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A model, and questions one a line."""
    hub.export(gpt(), tmp_path / "gpt")
    rows = [{"id": f"q{i}", "text": f"a dull film {i}", "label": i % 2} for i in range(5)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def put(place: Path, changes: dict[str, Any] | None = None, **how: Any) -> Any:
    (place / "task.yaml").write_text(yaml.safe_dump(VALUES | (changes or {})))
    return fewshot_file(str(place / "gpt"), place / "task.yaml", how.pop("shots", [0, 2]), [0, 1], **how)


def test_from_a_task_file_to_its_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = put(place, out=place / "out")
    result = json.loads((place / "out" / "result.json").read_text())
    lines = [json.loads(line) for line in (place / "out" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 5 * (2 + 4), "five questions, two templates, two seeds where there are demonstrations"
    assert (place / "out" / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    for rule in ("sum", "tokens", "characters", "pmi", "calibrated"):
        for shots in (0, 2):
            own = [line for line in lines if line["shots"] == shots]
            right = sum(max(line["scores"][rule], key=line["scores"][rule].get) == line["gold"] for line in own)
            (told,) = [r for r in result["results"] if (r["shots"], r["scoring"]) == (shots, rule)]
            assert told["accuracy"]["value"] == pytest.approx(right / len(own))
    assert all(line["label"] == max(line["scores"]["sum"], key=line["scores"]["sum"].get) for line in lines)
    assert all(len(line["demonstrations"]) == line["shots"] for line in lines)
    shown = capsys.readouterr()
    assert "calibration error" in shown.out
    assert "reviews · 2 shots · seed 1 · template 1" in shown.err
    assert put(place) == found, "the same draws"


def test_how_many_are_asked(place: Path) -> None:
    put(place, out=place / "out", limit=2, shots=[0])
    assert len((place / "out" / "predictions.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"template": "x"}, "task.yaml: template: unknown key; expected one of fewshot, description"),
        ({"templates": "Review: {text}"}, "has no {answer}"),
        ({"templates": "{words} {answer}"}, "no field 'words'; expected one of"),
        ({"labels": {1: "good"}}, "two labels or more"),
        ({"labels": {}}, "labels, or choices, one of the two"),
        ({"labels": {"a": "good", "b": "bad"}}, "questions.jsonl:1: label '0'; expected one of a, b"),
        ({"examples": "none.jsonl"}, "none.jsonl: no such file"),
        ({"examples": []}, "questions.jsonl:1: 0 examples to show before question q0; expected 2, the shots"),
        ({"scoring": ["best"]}, "scoring.0: found 'best'"),
        ({"decoder": "all"}, "decoder: found 'all'"),
        ({"data": None}, "task.yaml: no questions; expected data: in the file, or --data"),
        ({"choices": "options", "labels": {}}, "questions.jsonl:1: options is None; expected two texts or more"),
        ({"balance": "kind"}, "no field 'kind'"),
        ({"labels": {1: "good", 0: ""}}, "label '0' with an empty answer; expected words that stand for it"),
        ({"labels": {1: [], 0: "bad"}}, "label '1' with an empty answer"),
        ({"labels": {1: "good", "1": "great", 0: "bad"}}, "labels: '1' once"),
        ({"labels": {1: "good", 0: ["bad", "good"]}}, "label '1': 'good' has the same tokens as an answer of '0'"),
    ],
)
def test_a_mistake_is_one_clear_line(place: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as problem:
        put(place, changes)
    assert said in str(problem.value)
    assert "\n" not in str(problem.value).replace("\\n", "")


def test_where_to_write_is_seen_to_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("didact.runs.fewshot.ask_file", lambda *_, **__: pytest.fail("asked"))
    (place / "file").write_text("")
    for out in (place / "file", place / "file" / "deeper"):
        with pytest.raises(InputError, match=r"expected (a folder|one that can be written in)"):
            put(place, out=out)


def test_numbers() -> None:
    assert _numbers("shots", "0, 5,1,5") == [0, 5, 1]
    for text in ("", "1,", "a", "-1"):
        with pytest.raises(InputError, match="--shots: found"):
            _numbers("shots", text)
