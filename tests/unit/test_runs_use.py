"""`didact evaluate`, `predict`, `fill`, `embed`: what they print, in what order, and how they complain."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_tools import finetuning
from sklearn.metrics import accuracy_score, f1_score

from didact import hub
from didact.errors import InputError
from didact.runs import common, runfile, use
from didact.runs.finetune import finetune
from didact.runs.schema import FinetuneRun


@pytest.fixture(scope="module")
def tuned(world: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("tuned") / "run"
    return finetune(runfile.checked(FinetuneRun, finetuning(world, run, pretrained, budget={"epochs": 4})))


def test_folders_to_write_in_are_made(tuned: Path, world: Path, tmp_path: Path) -> None:
    """And what cannot be one is said at once."""
    (tmp_path / "texts.txt").write_text("a stone.\n")
    use.embed_files(str(tuned), [tmp_path / "texts.txt"], tmp_path / "a" / "b.npy", "")
    assert np.load(tmp_path / "a" / "b.npy").shape[0] == 1
    use.evaluate_files(str(tuned), [world / "test.tsv"], None, tmp_path / "c" / "d.json")
    assert (tmp_path / "c" / "d.json").is_file()
    use.predict_files(str(tuned), [world / "test.tsv"], tmp_path / "e" / "f.jsonl")
    assert len((tmp_path / "e" / "f.jsonl").read_text().splitlines()) == 12
    with pytest.raises(InputError, match=r"texts\.txt: a file; expected a folder"):
        use.embed_files(str(tuned), [tmp_path / "texts.txt"], tmp_path / "texts.txt" / "x.npy", "")
    with pytest.raises(InputError, match="a folder; expected a file to be written"):
        use.evaluate_files(str(tuned), [world / "test.tsv"], None, tmp_path / "c")
    for spec, said in (("classify: {columns: {", "not YAML"), ("[classify]", "expected a task's name")):
        with pytest.raises(InputError, match=said):
            use.evaluate_files(str(tuned), [world / "test.tsv"], spec, None)


def texts_of(world: Path) -> list[tuple[str, str]]:
    rows = (line.split("\t") for line in (world / "test.tsv").read_text().splitlines()[1:])
    return [(label, text) for label, text in rows]


def test_predictions_come_in_order_however_many(
    tuned: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several files, several portions: one line out for each line in."""
    monkeypatch.setattr(use, "_AT_ONCE", 5)
    texts = [text for _, text in texts_of(world)]
    for name, own in (("a", texts[:7]), ("b", texts[7:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"id": t, "text": t}) + "\n" for t in own))
    use.predict_files(str(tuned), [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [p["id"] for p in found] == texts
    alone = [hub.load(tuned).predict([{"text": text}])[0]["scores"] for text in texts]
    for one, p in zip(alone, found, strict=True):
        assert p["scores"] == pytest.approx(one, abs=1e-5)


def test_predictions_are_scored_with_their_file(
    tuned: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends a line for Unicode ends none here; what has no id is called by its number in the file."""
    monkeypatch.setattr(use, "_AT_ONCE", 5)
    file, out, scores = tmp_path / "x.jsonl", tmp_path / "out.jsonl", tmp_path / "scores.json"
    ends = ("\u2028", "\u2029", "\u0085", "\f", "\r", "")
    records = [
        {"text": text.replace(" ", f" {ends[i % 6]} ", 2), "label": y} for i, (y, text) in enumerate(texts_of(world))
    ]
    records[7]["id"] = "seventh\u2028"
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    use.predict_files(str(tuned), [file], out)
    use.evaluate_files(str(tuned), [file], None, scores)
    found = [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]]
    assert [p["id"] for p in found] == [records[7]["id"] if i == 7 else str(i) for i in range(12)]
    task = hub.load(tuned).task
    assert task is not None
    values = json.loads(scores.read_text())[str(file)]["scores"]
    assert task.score(found, task.items(file)) == pytest.approx({name: own["value"] for name, own in values.items()})


def test_files_of_another_kind_are_read_by_the_task(tuned: Path, world: Path, tmp_path: Path) -> None:
    """In the order in which they are named; a column of labels is no matter."""
    (tmp_path / "bare.csv").write_text("text\nriver stone\n")
    (tmp_path / "one.jsonl").write_text('{"text": "lamp"}\n')
    files = [tmp_path / "one.jsonl", world / "test.tsv", tmp_path / "bare.csv"]
    use.predict_files(str(tuned), files, tmp_path / "out.jsonl")
    found = [json.loads(line)["scores"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    texts = ["lamp", *(text for _, text in texts_of(world)), "river stone"]
    expected = hub.load(tuned).predict([{"text": text} for text in texts])
    assert len(found) == len(texts)
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b["scores"], abs=1e-5)


def test_standard_input_and_output(
    tuned: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "river"}\r\n{"text": "lamp"}\n')))
    use.predict_files(str(tuned), [], None)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"text": "a"}\n{"text" "b"}\n', "standard input:2: not JSON"),
        ('{"text": "a"}\n\n', "standard input:2: an empty line"),
        ("[1]\n", "standard input:1: found list; expected a JSON object"),
        ('{"text": "a \\ud800 b"}\n', "standard input:1: half a surrogate pair"),
        (b'{"text": "caf\xe9"}\n', "standard input:1: byte 0xe9 at byte 14 of the line is not UTF-8"),
        ("[" * 100_000 + "\n", "standard input:1: JSON nested too deeply"),
        ('{"text": "a"}\n{"txt": "b"}\n', "standard input:2: columns txt; expected 'text' for the text"),
    ],
)
def test_wrong_records_are_told_by_row(
    tuned: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, said: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text if isinstance(text, bytes) else text.encode())))
    with pytest.raises(InputError) as problem:
        use.predict_files(str(tuned), [], None)
    assert said in str(problem.value)


def test_a_row_of_a_later_portion(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "_AT_ONCE", 3)
    lines = ['{"text": "a"}'] * 4 + ['{"no": 1}']
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"x\.jsonl:5: columns no"):
        use.predict_files(str(tuned), [tmp_path / "x.jsonl"], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists(), "the file is there whole or not at all"


def test_evaluate_gives_the_official_score(
    tuned: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = texts_of(world)
    predicted = [p["label"] for p in hub.load(tuned).predict([{"text": text} for _, text in gold])]
    use.evaluate_files(str(tuned), [world / "test.tsv"], None, tmp_path / "scores.json")
    scores: dict[str, Any] = json.loads((tmp_path / "scores.json").read_text())[str(world / "test.tsv")]["scores"]
    labels = [label for label, _ in gold]
    assert scores["accuracy"]["value"] == pytest.approx(accuracy_score(labels, predicted))
    assert scores["f1_macro"]["value"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert scores["accuracy"]["low"] <= scores["accuracy"]["value"] <= scores["accuracy"]["high"]
    assert "accuracy" in capsys.readouterr().err


def test_evaluate_with_other_columns_or_another_task(
    tuned: Path, pretrained: Path, world: Path, tmp_path: Path
) -> None:
    renamed = (world / "test.tsv").read_text().replace("label\ttext", "klass\treview", 1)
    (tmp_path / "renamed.tsv").write_text(renamed)
    with pytest.raises(InputError, match=r"renamed\.tsv"):
        use.evaluate_files(str(tuned), [tmp_path / "renamed.tsv"], None, None)
    columns = "classify: {columns: {text: review, label: klass}}"
    use.evaluate_files(str(tuned), [tmp_path / "renamed.tsv"], columns, tmp_path / "a.json")
    use.evaluate_files(str(tuned), [world / "test.tsv"], None, tmp_path / "b.json")
    a, b = (next(iter(json.loads((tmp_path / f"{n}.json").read_text()).values())) for n in "ab")
    assert a["scores"] == b["scores"]
    with pytest.raises(InputError, match="fine-tuned for no task; expected --task"):
        use.evaluate_files(str(pretrained), [world / "test.tsv"], None, None)


def test_vectors_are_rows_in_the_order_of_the_lines(pretrained: Path, world: Path, tmp_path: Path) -> None:
    lines = [text for _, text in texts_of(world)]
    (tmp_path / "x.txt").write_text("\n".join(lines) + "\n")
    for pooling in ("mean", "cls", "max"):
        use.embed_files(str(pretrained), [tmp_path / "x.txt"], tmp_path / "v.npy", pooling)
        found = np.load(tmp_path / "v.npy")
        assert found.dtype == np.float32
        model = hub.load(pretrained)
        for row, text in enumerate(lines):
            np.testing.assert_allclose(found[row], model.embed([text], pooling)[0], atol=1e-5)  # type: ignore[arg-type]


def test_nothing_to_embed_and_unknown_pooling(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InputError, match=r"x\.txt: no line to embed"):
        use.embed_files(str(pretrained), [tmp_path / "x.txt"], tmp_path / "v.npy", "")
    with pytest.raises(InputError, match="--pooling: found 'sum'; expected one of mean, cls, last, max"):
        use.embed_files(str(pretrained), [tmp_path / "x.txt"], tmp_path / "v.npy", "sum")


def test_blanks(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use.fill_text(str(pretrained), "the [MASK] and the [MASK]", 2)
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    for blank in ("1", "2"):
        shares = [float(row[1]) for row in rows if row[0] == blank]
        assert shares == sorted(shares, reverse=True)
    with pytest.raises(InputError, match="no blank in the text"):
        use.fill_text(str(pretrained), "nothing hidden", 2)


def test_standard_input_may_begin_with_a_mark(
    tuned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'\xef\xbb\xbf{"text": "river"}\n')))
    use.predict_files(str(tuned), [], None)
    assert json.loads(capsys.readouterr().out)["label"]


def test_what_a_head_has_learned_is_not_named_anew(tuned: Path, world: Path) -> None:
    """In another order its classes would be called by each other's names."""
    labels = hub.load(tuned).task.labels  # type: ignore[union-attr]
    use.evaluate_files(str(tuned), [world / "test.tsv"], f"classify: {{labels: [{', '.join(labels)}]}}", None)
    for spec, said in (
        (f"classify: {{labels: [{', '.join(reversed(labels))}]}}", "labels .* this model has learned"),
        ("classify: {pooling: matched, pooled: false}", "pooling 'matched', and this model has learned 'cls'"),
        ("classify: {problem: multiple}", "problem 'multiple', and this model has learned 'single'"),
        ("classify: {columns: {txt: text}}", r"columns\.txt: unknown field; expected one of text, text_b, label"),
    ):
        with pytest.raises(InputError, match=said):
            use.evaluate_files(str(tuned), [world / "test.tsv"], spec, None)


def test_results_are_json_whatever_the_score() -> None:
    assert common.spoken({"a": [float("nan"), 1.0, (float("inf"), 2)], "b": "x"}) == {
        "a": [None, 1.0, [None, 2]],
        "b": "x",
    }


def test_a_blank_beyond_the_model_is_not_passed_over(pretrained: Path) -> None:
    model = hub.load(pretrained)
    mask = model.tokenizer.token(model.tokenizer.mask)  # type: ignore[arg-type]
    for text in ("stone " * 600 + mask, f"a {mask} " + "stone " * 600 + mask):
        with pytest.raises(InputError, match=r"a blank beyond the .* tokens that the model takes"):
            model.fill(text)
