"""A grid from its file to its page, with a runner that only pretends to train."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from didact.errors import InputError, NotANumber
from didact.lab import experiment, figures, run
from didact.lab.cells import Cell, Failure, Say
from didact.lab.figures import validation_curve
from didact.runs.schema import PretrainRun

GRID: dict[str, Any] = {
    "grid": "trial",
    "question": "Does <more> help?",
    "pretrain": {"run": "r", "data": {"train": "x"}, "budget": {"steps": 10}},
    "finetune": {
        "topic": {
            "run": "r",
            "start": "s",
            "task": {"classify": {}},
            "data": {"train": "a.tsv"},
            "learning_rates": [1e-4],
        }
    },
    "arms": {"less": {}, "more": {"pretrain": {"objective.masked.rate": 0.4}}, "scratch": {"pretrain": False}},
    "floors": {"topic": {"accuracy": 0.3}},
}
TEST = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(300)]
RIGHT = {"less": 0.5, "more": 0.7, "scratch": 0.5}


def pretend(cells: Sequence[Cell], _say: Say) -> list[Failure]:
    """Leave behind what runs leave behind."""
    for cell in cells:
        leave(cell)
    return []


def leave(cell: Cell) -> None:
    cell.folder.mkdir(parents=True)
    rng = np.random.default_rng(cell.seed)
    if isinstance(cell.run, PretrainRun):
        validation = {"loss": 9.0, "mlm@15/loss": 2.0 + 0.01 * cell.seed}
        result: dict[str, Any] = {"steps": 10, "tokens": 5000, "seconds": 1.0, "flops": 1e12, "validation": validation}
        events = [
            {"step": 10 * i, "kind": "validation", "mlm@15/loss": 3.0 - i / 2, "tokens": 2500 * i} for i in (1, 2)
        ]
        (cell.folder / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    else:
        right = rng.random(300) < RIGHT[cell.arm]
        scores = {"accuracy": float(right.mean()), "f1_macro": 0.5, "matthews": 0.1}
        seed = {"learning_rate": 1e-4, "dev": scores, "test": scores, "steps": 3, "seconds": 2.0, "flops": 1e11}
        result = {"seeds": {str(cell.seed): seed}, "main": "accuracy"}
        (cell.folder / f"seed-{cell.seed}").mkdir()
        labels = [row["label"] if ok else "ba"[i % 2] for i, (row, ok) in enumerate(zip(TEST, right, strict=True))]
        lines = "".join(json.dumps({"label": label}) + "\n" for label in labels)
        (cell.folder / f"seed-{cell.seed}" / "predictions-test.jsonl").write_text(lines)
    (cell.folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.yaml"
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEST))
    files = {"train": str(tmp_path / "test.jsonl"), "test": str(tmp_path / "test.jsonl")}
    topic = GRID["finetune"]["topic"] | {"data": files}
    path.write_text(yaml.safe_dump(GRID | {"finetune": {"topic": topic}}))
    return path


def test_the_report(file: Path, tmp_path: Path) -> None:
    said: list[str] = []
    page = experiment.run(file, tmp_path / "out", pretend, said.append)
    text = page.read_text()
    assert "Does &lt;more&gt; help?" in text
    assert "more is better than less by" in text
    assert re.search(r"better than less by [^(]*\(more is better than the best trivial method, \S+", text)
    assert "scratch and less: no difference at this scale" in text
    assert "Below the smallest comparison worth quoting" in text
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', text), "the page is one file"
    for floor in ("majority", "TF-IDF + linear", "given in the grid"):
        assert f"trivial: {floor}" in text
    assert any("below the smallest comparison" in line for line in said)
    assert said[-1] == str(page)
    markdown = (page.parent / "report.md").read_text()
    assert "| topic | accuracy | trivial: majority | 0.5 |" in markdown
    stored = json.loads((page.parent / "results.json").read_text())
    assert {c["arm"]: c["better"] for c in stored["comparisons"] if c["metric"] == "accuracy"} == {
        "less": None, "more": True, "scratch": None,
    }  # fmt: skip
    rows = list(csv.DictReader((page.parent / "results.csv").read_text().splitlines()))
    assert len(rows) == 2 * 3 * 2 + 3 * 3 * 6
    assert yaml.safe_load((page.parent / "grid.yaml").read_text())["arms"].keys() == GRID["arms"].keys()


def test_losses_of_different_questions_are_drawn_apart(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runner(cells: Sequence[Cell], say: Say) -> list[Failure]:
        pretend(cells, say)
        for written in (cell.folder / name for cell in cells for name in ("result.json", "metrics.jsonl")):
            if "/more/" in str(written) and written.is_file():
                written.write_text(written.read_text().replace("mlm@15", "clm"))
        return []

    drawn: list[Any] = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    experiment.run(file, tmp_path / "out", runner, lambda _: None)
    forest, curves = ([axes for axes in figure.axes if axes.get_visible()] for figure in drawn)
    assert [axes.get_title() for axes in forest] == ["topic: accuracy"]
    assert [axes.get_ylabel() for axes in curves] == ["mlm@15/loss, nats", "clm/loss, nats"]
    assert [[text.get_text() for text in axes.get_legend().get_texts()] for axes in curves] == [["less"], ["more"]]
    assert [len(axes.get_lines()) for axes in curves] == [3, 3]


def test_a_failed_cell_is_raised_after_the_report(file: Path, tmp_path: Path) -> None:
    def runner(cells: Sequence[Cell], _say: Say) -> list[Failure]:
        lost = [cell for cell in cells if cell.name == "more, seed 1, topic"]
        pretend([cell for cell in cells if cell not in lost], _say)
        return [Failure(cell.name, "exit code 3: the loss is nan", 3) for cell in lost]

    with pytest.raises(NotANumber, match="1 cells have no result, the first: more, seed 1, topic: exit code 3"):
        experiment.run(file, tmp_path / "out", runner, lambda _: None)
    assert "the loss is nan" in (tmp_path / "out/report.html").read_text()


def test_nothing_finished_is_a_report_all_the_same(file: Path, tmp_path: Path) -> None:
    def runner(cells: Sequence[Cell], _say: Say) -> list[Failure]:
        return [Failure(cell.name, "exit code 1", 1) for cell in cells]

    with pytest.raises(RuntimeError, match="no result"):
        experiment.run(file, tmp_path / "out", runner, lambda _: None)
    assert (tmp_path / "out/report.html").is_file()


def test_plans_and_jobs_are_for_grids(file: Path) -> None:
    with pytest.raises(ValueError, match="--plan"):
        run("quickstart", plan=True)
    with pytest.raises(ValueError, match="--jobs"):
        run("quickstart", jobs=2)
    with pytest.raises(ValueError, match="--jobs"):
        run(str(file), plan=True, jobs=2)


def test_curves_of_a_run_without_validation(tmp_path: Path) -> None:
    assert validation_curve(tmp_path / "absent.jsonl", "loss") == ([], [])


def test_curves_leave_out_what_is_undefined(tmp_path: Path) -> None:
    values = ["2.5", "null", "NaN", "2.0"]
    lines = [f'{{"kind": "validation", "loss": {value}, "tokens": {i}}}' for i, value in enumerate(values)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, ""]))
    assert validation_curve(tmp_path / "metrics.jsonl", "loss") == ([0.0, 3.0], [2.5, 2.0])


def test_undefined_figures_are_reported_as_such(file: Path, tmp_path: Path) -> None:
    """null in result.json: a word in the tables and sentences, no place in the figures."""

    def lost(cells: Sequence[Cell], say: Say) -> list[Failure]:
        pretend(cells, say)
        for cell in cells:
            if cell.arm == "more" and isinstance(cell.run, PretrainRun):
                result = json.loads((cell.folder / "result.json").read_text())
                result["validation"]["mlm@15/loss"] = None
                (cell.folder / "result.json").write_text(json.dumps(result))
        return []

    page = experiment.run(file, tmp_path / "out", lost, lambda _: None)
    markdown = (page.parent / "report.md").read_text()
    assert "mlm@15/loss (validation): more undefined, its difference from less is undefined" in markdown
    row = next(
        line for line in markdown.splitlines() if line.startswith("| pretrain | mlm@15/loss") and "| more |" in line
    )
    assert row.count("undefined") == 5
    stored = json.loads((page.parent / "results.json").read_text())
    assert [s["value"] for s in stored["scores"] if (s["arm"], s["metric"]) == ("more", "mlm@15/loss")] == [None] * 3
    assert (page.parent / "figure.png").is_file()


def test_answers_to_other_items_are_refused(file: Path, tmp_path: Path) -> None:
    pretend_answers = tmp_path / "out/cells/more/1/topic/seed-1/predictions-test.jsonl"
    experiment.run(file, tmp_path / "out", pretend, lambda _: None)
    lines = [json.loads(line) | {"id": str(i)} for i, line in enumerate(pretend_answers.read_text().splitlines())]
    lines[4]["id"], lines[5]["id"] = "5", "4"
    pretend_answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = r"predictions-test\.jsonl:5: an answer to '5'; expected the one to '4', as .*test\.jsonl has it"
    with pytest.raises(InputError, match=said):
        experiment.run(file, tmp_path / "out", pretend, lambda _: None)
    pretend_answers.write_text("".join(json.dumps({"label": "a"}) + "\n" for _ in range(7)))
    with pytest.raises(InputError, match=r"predictions-test\.jsonl: 7 answers; expected 300"):
        experiment.run(file, tmp_path / "out", pretend, lambda _: None)


def test_floors_in_what_is_no_score_are_refused_before_anything_runs(file: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(file.read_text()) | {"floors": {"topic": {"acuracy": 0.3}}}
    file.write_text(yaml.safe_dump(values))
    ran: list[Cell] = []

    def runner(cells: Sequence[Cell], _say: Say) -> list[Failure]:
        ran.extend(cells)
        return []

    with pytest.raises(InputError, match=r"floors\.topic\.acuracy: no score of this task; expected one of accuracy"):
        experiment.run(file, tmp_path / "out", runner, lambda _: None)
    assert ran == []


def test_discarded_rates_are_in_what_it_took(file: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(file.read_text())
    values["learning_rates"] = {"pretrain": [1e-4, 1e-3, 2e-3], "by": "mlm@15/loss"}
    values["finetune"]["topic"]["learning_rates"] = [1e-4, 3e-4]
    file.write_text(yaml.safe_dump(values))

    def runner(cells: Sequence[Cell], say: Say) -> list[Failure]:
        pretend(cells, say)
        for cell in cells:
            if not isinstance(cell.run, PretrainRun):
                for rate, seconds in (("0.0001", 2.0), ("0.0003", 5.0)):
                    folder = cell.folder / f"seed-{cell.seed}" / f"rate-{rate}"
                    folder.mkdir(parents=True)
                    found = {"steps": 3, "seconds": seconds, "flops": 1e11, "learning_rate": float(rate)}
                    (folder / "result.json").write_text(json.dumps(found))
        return []

    page = experiment.run(file, tmp_path / "out", runner, lambda _: None)
    table = (page.parent / "report.md").read_text().split("## What it took")[1]
    rows = {
        tuple(c[:2]): c[2:] for line in table.splitlines() if len(c := [x.strip() for x in line.split("|")[1:-1]]) > 2
    }
    assert rows["pretrain", "more"] == ["0.0001", "10", "5,000", "1e+12", "1"]
    left = "other trials of rates, all together"
    assert rows[f"pretrain, {left}", "more"] == ["0.001  0.002", "20", "10,000", "2e+12", "2"]
    assert rows[f"topic, {left}", "scratch"] == ["0.0003", "9", "", "3e+11", "15"]


def test_published_figures_stand_above_ours(file: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(file.read_text())
    paper = {"source": "A et al., 2020", "measure": "GLUE", "arms": {"less": 80.0, "more": 82.5}}
    values["papers"] = [paper | {"beside": "topic/accuracy"}, paper | {"measure": "SQuAD"}]
    file.write_text(yaml.safe_dump(values))
    page = experiment.run(file, tmp_path / "out", pretend, print)
    lines = (page.parent / "report.md").read_text().split("## Beside the papers")[1].splitlines()[4:7]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["A et al., 2020", "GLUE", "80", "82.5 (+2.5)", ""]
    assert cells[2] == ["A et al., 2020", "SQuAD", "80", "82.5 (+2.5)", ""]
    assert cells[1][:2] == ["here", "topic accuracy"]
    stored = json.loads((page.parent / "results.json").read_text())
    found = {c["arm"]: c for c in stored["comparisons"] if c["metric"] == "accuracy"}
    assert cells[1][2] == f"{found['less']['value']['value']:.4g}"
    assert cells[1][3].startswith(f"{found['more']['value']['value']:.4g} ({found['more']['change']['value']:+.3g} [+")
    values["papers"] = [paper | {"beside": "topic/acuracy"}]
    file.write_text(yaml.safe_dump(values))
    page = experiment.run(file, tmp_path / "out", pretend, print)
    assert "| here | topic/acuracy: no such figure |" in (page.parent / "report.md").read_text()
    values["papers"] = [paper | {"arms": {"other": 1.0}}]
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(InputError, match="papers of the arms less, more, scratch; found other"):
        experiment.run(file, tmp_path / "out", pretend, print)
