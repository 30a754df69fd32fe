"""The quickstart from end to end, on small packages: every stage, the report, and what a second start does."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from installed_docs_tools import site_packages

from didact import hub, lab
from didact.data.installed_docs import TASKS
from didact.errors import InputError
from didact.lab import quickstart
from didact.lab.quickstart.plan import FOLDER

SIZE = {"train": 60, "dev": 20, "test": 40}


def small_plan(folder: Path, minutes: float | None = None) -> Path:
    """The shipped plan from nothing, every number small: two libraries, a model of two narrow layers, a few steps."""
    plan = yaml.safe_load((FOLDER / "quickstart-scratch.yaml").read_text())
    plan["search"] = [str(site_packages(folder / "site", modules=96))]
    plan["tokenizer"]["vocabulary"] = 600
    plan["sizes"] = dict.fromkeys(TASKS, SIZE)
    plan["pretrain"]["model"] |= {"layers": 2, "width": 32, "heads": 2, "feedforward": 64}
    plan["pretrain"] |= {"budget": {"steps": 6}, "hardware": {"compile": "off"}}
    plan["pretrain"]["batch"]["size"] = "4 sequences"
    plan["pretrain"]["validation"] |= {"every": 3, "sequences": 20}
    plan["pretrain"]["checkpoints"] = {"every": 2, "keep": 1}
    if minutes is not None:
        plan["pretrain"]["budget"] = {"minutes": minutes}
    for own in plan["tasks"].values():
        own |= {"budget": {"steps": 2}, "learning_rates": [1e-3, 2e-3]}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(plan))
    return file


@pytest.mark.slow
def test_from_packages_to_the_report(tmp_path: Path) -> None:
    plan, out = small_plan(tmp_path), tmp_path / "out"
    page = quickstart.run(out, plan=plan)
    results = json.loads((out / "results.json").read_text())

    assert [c["task"] for c in results["comparison"]] == list(yaml.safe_load(plan.read_text())["tasks"])
    for c in results["comparison"]:
        ours, scratch = c["arms"]["pretrained"], c["arms"]["scratch"]
        assert len(ours["seeds"]) == len(scratch["seeds"]) == 3
        assert c["floors"]
        assert ours["steps"] == scratch["steps"] == 2
        assert ours["tokens"] == scratch["tokens"]
        difference = ours["value"] - scratch["value"]
        assert c["difference"]["value"] == pytest.approx(difference)
        assert c["difference"]["low"] <= difference <= c["difference"]["high"]
    assert {library["name"] for library in results["documents"]["libraries"]} == {"numpy", "scipy"}
    assert results["pretrain"]["steps"] == 6
    assert len(results["stages"]) == 6
    assert all(stage["seconds"] > 0 for stage in results["stages"])

    text = page.read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", text)  # nothing is fetched
    for verdict in results["verdicts"]:
        assert verdict.split("(")[0] in html.unescape(text)

    for task in TASKS:
        for arm in ("pretrained", "scratch"):
            assert hub.load(str(out / "finetune" / f"{task}-{arm}" / "seed-0")).task is not None

    made = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".safetensors", ".jsonl")}
    began = time.monotonic()
    assert quickstart.run(out, plan=plan) == page
    assert time.monotonic() - began < 20  # no stage again
    assert made == {path: path.stat().st_mtime_ns for path in made}

    other = yaml.safe_load(plan.read_text()) | {"validation": 0.1}
    plan.write_text(yaml.safe_dump(other))
    with pytest.raises(InputError, match="another plan"):
        quickstart.run(out, plan=plan)

    further(other, out / "pretrain", tmp_path)


def further(plan: dict[str, Any], start: Path, folder: Path) -> None:
    """The road that goes on from a checkpoint: its tokenizer, a third arm."""
    del plan["tokenizer"], plan["pretrain"]["model"]
    plan |= {"start": str(start), "tasks": {"topic": plan["tasks"]["topic"] | {"seeds": [0], "learning_rates": [1e-3]}}}
    file, out = folder / "further.yaml", folder / "further"
    file.write_text(yaml.safe_dump(plan))
    lab.run(str(file), out)
    (found,) = json.loads((out / "results.json").read_text())["comparison"]
    assert list(found["arms"]) == ["pretrained", "start", "scratch"]
    gained = found["arms"]["pretrained"]["value"] - found["arms"]["start"]["value"]
    assert found["start"]["gained"]["value"] == pytest.approx(gained)
    assert not (out / "tokenizer").exists()
    told, went_on = (
        json.loads((out / "looking.json").read_text())["before"],
        json.loads((out / "results.json").read_text()),
    )
    assert told["mlm@15/loss"] > went_on["pretrain"]["validation"]["mlm@15/loss"] > 0
    ours, theirs = hub.load(str(out / "pretrain")), hub.load(str(start))
    assert ours.tokenizer.fingerprint == theirs.tokenizer.fingerprint
    assert ours.model.config == theirs.model.config


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupted_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    plan, out = small_plan(tmp_path, minutes=0.15), tmp_path / "out"
    text = (
        "import sys; from pathlib import Path\n"
        "from didact.errors import Interrupted; from didact.lab import quickstart\n"
        "try: quickstart.run(Path(sys.argv[1]), plan=Path(sys.argv[2]))\n"
        "except Interrupted as told: print(told); sys.exit(130)"
    )
    command = [sys.executable, "-c", text, str(out), str(plan)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as first:
        metrics = out / "pretrain" / "metrics.jsonl"
        for _ in range(1200):
            if metrics.is_file() and metrics.read_text().count("\n") >= 2:
                break
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGINT)
        said, _ = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "goes on from there" in said
    assert not (out / "pretrain" / "result.json").exists()
    before = json.loads((out / "stages.json").read_text())
    saved = (out / "pretrain" / "checkpoints").glob("step-*")  # the last one, and the best
    step = max(int(folder.name.removeprefix("step-")) for folder in saved)
    assert step > 0

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as second:
        for _ in range(1200):
            if (out / "pretrain" / "result.json").exists():
                break
            time.sleep(0.05)
        os.killpg(second.pid, signal.SIGINT)
        second.communicate(timeout=60)
    assert json.loads((out / "pretrain" / "result.json").read_text())["steps"] > step
    after = json.loads((out / "stages.json").read_text())
    assert after["store"] == before["store"]  # not again
    assert after["pre-training"]["seconds"] > before["pre-training"]["seconds"]  # added up
