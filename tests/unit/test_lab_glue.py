"""All of GLUE from one file, on files in the official formats: runs, scores, the average, the leaderboard's files."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from test_tasks_glue import FILES

from didact import hub, lab
from didact.errors import InputError
from didact.lab.glue import FOLDERS, _mean, _seeds
from didact.runs import common
from didact.tasks import Glue
from didact.tasks.glue import MEMBERS

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "glue.yaml"


def official(folder: Path) -> Path:
    """The download's folders; each file's rows three times over, so that there is something to train on."""
    for name, place in {**FOLDERS, "ax": "diagnostic"}.items():
        labelled, unlabelled = FILES[name]
        (folder / place).mkdir(parents=True)
        head, _, rows = labelled.partition("\n") if MEMBERS[name].header else ("", "", labelled)
        text = (f"{head}\n" if head else "") + rows * 3
        for split in ("train", "dev_matched", "dev_mismatched") if name == "mnli" else ("train", "dev"):
            (folder / place / f"{split}.tsv").write_text(text, encoding="utf-8")
        for test in MEMBERS[name].boards.values():
            (folder / place / f"{test}.tsv").write_text(unlabelled, encoding="utf-8")
    return folder


def small(folder: Path, start: Path, data: Path, **changes: Any) -> Path:
    values = yaml.safe_load(RECIPE.read_text()) | {"start": str(start), "glue": str(data), "run": str(folder / "out")}
    quick = {"length": 64, "batch": {"size": "4 sequences", "micro_tokens": 128}, "budget": {"steps": 2}, "quiet": True}
    quick["hardware"] = {"precision": "fp32"}  # as a model computes that is loaded
    values |= {"own": {}, "finetune": values["finetune"] | quick | {"seeds": [0, 1], "learning_rates": []}} | changes
    path = folder / "glue.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_the_recipe(pretrained: Path, tmp_path: Path) -> None:
    data = official(tmp_path / "data")
    page = lab.run(str(small(tmp_path, pretrained, data)))
    found = json.loads(page.read_text())
    assert set(found["scores"]) == {*FOLDERS, "mnli_mismatched"}
    nine = []
    for name in FOLDERS:
        values = list(found["scores"][name].values())
        if name == "mnli":
            values = [found["scores"]["mnli"]["accuracy"], found["scores"]["mnli_mismatched"]["accuracy"]]
        nine.append(sum(values) / len(values))
    assert found["average"] == pytest.approx(sum(nine) / 9, nan_ok=True)
    boards = tmp_path / "out" / "boards"
    with zipfile.ZipFile(boards / "submission.zip") as archive:
        assert len(archive.namelist()) == 11
    with (boards / "MNLI-mm.tsv").open() as file:
        assert [row["index"] for row in csv.DictReader(file, delimiter="\t")] == ["0"]
    results = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("result.json")}
    assert {file.parent.name for file in results} >= set(FOLDERS)
    page.unlink()
    assert json.loads(lab.run(str(tmp_path / "glue.yaml")).read_text()) == found, "made again of what is there"
    assert {file: file.stat().st_mtime_ns for file in results} == results, "and nothing trained again"


def test_its_scores_are_scikit_learns(pretrained: Path, tmp_path: Path) -> None:
    data = official(tmp_path / "data")
    file = small(tmp_path, pretrained, data, tasks=["cola", "mrpc", "stsb"])
    found = json.loads(lab.run(str(file), tmp_path / "elsewhere").read_text())
    assert found["average"] is None, "not all nine"
    measures = {"matthews": matthews_corrcoef, "accuracy": accuracy_score, "f1": f1_score}
    for name in ("cola", "mrpc", "stsb"):
        by_seed: dict[str, list[float]] = {}
        for seed in (0, 1):
            model = hub.load(tmp_path / "elsewhere" / name / f"seed-{seed}")
            items = Glue(name).items(data / FOLDERS[name] / "dev.tsv")  # type: ignore[arg-type]
            columns = MEMBERS[name].unlabelled  # as test.tsv has them: CoLA's dev.tsv names none
            records = [{str(c): item.fields[field] for field, c in columns.items()} for item in items]
            answers = [p["label"] for p in model.predict(records)]
            gold = [item.gold for item in items]
            for score in found["scores"][name]:
                if score in measures:
                    value = float(measures[score]([int(g) for g in gold], [int(a) for a in answers]))
                elif score == "pearson":
                    value = float(pearsonr(gold, answers)[0])
                else:
                    continue
                by_seed.setdefault(score, []).append(value)
        for score, values in by_seed.items():
            assert found["scores"][name][score] == pytest.approx(sum(values) / 2, abs=1e-6), (name, score)


def test_a_score_that_a_seed_has_not(tmp_path: Path) -> None:
    scores = {"pearson": math.nan, "spearman": 0.5}
    common.finish(tmp_path, {"seeds": {"0": {"dev": scores}, "1": {"dev": scores}}})
    assert repr(_mean(_seeds(tmp_path), "stsb")) == repr(scores)


def test_missing_files_are_told_first(pretrained: Path, tmp_path: Path) -> None:
    data = official(tmp_path / "data")
    for name in ("RTE/dev.tsv", "MNLI/dev_mismatched.tsv"):
        text = (data / name).read_text(encoding="utf-8")
        (data / name).unlink()
        with pytest.raises(InputError, match=rf"{name}: no such file"):
            lab.run(str(small(tmp_path, pretrained, data)))
        (data / name).write_text(text, encoding="utf-8")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"own\.rtee"):
        lab.run(str(small(tmp_path, pretrained, data, own={"rtee": {}})))
    with pytest.raises(InputError, match=r"finetune \(cola\).*batchsize"):
        lab.run(str(small(tmp_path, pretrained, data, finetune={"batchsize": 3})))
