"""The command as a user types it: exit codes, one line for a mistake, a whole small road, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_tools import finetuning, pretraining

import didact

VERBS = (
    "tokenizer", "prepare", "collocations", "inspect", "pretrain", "finetune", "evaluate", "predict", "fill", "embed",
    "generate", "convert", "push", "lab", "bench",
)  # fmt: skip


def environment() -> dict[str, str]:
    path = str(Path(didact.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "TERM": "dumb"}


def command(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "didact", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, env=environment(), timeout=120,
    )  # fmt: skip


def written(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_help_names_every_verb_and_loads_no_torch() -> None:
    script = (
        "import sys\nfrom didact.cli import main\nsys.argv = ['didact', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'tokenizers', 'datasets'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f" {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    from typer.testing import CliRunner

    from didact.cli.app import app

    found = CliRunner().invoke(app, [verb, "--help"])
    assert found.exit_code == 0
    assert "Usage" in found.stdout


def test_the_road(tmp_path: Path) -> None:
    """From raw text to answers, verb by verb."""
    from run_tools import make_world

    source = make_world(tmp_path / "source")
    world = tmp_path / "world"
    world.mkdir()
    made = command("tokenizer", source / "corpus.txt", "--out", world / "tokenizer", "--vocab", 120)
    assert made.returncode == 0, made.stderr
    assert "fertility" in made.stderr.lower()
    stored = command("prepare", source / "corpus.txt", "--tokenizer", world / "tokenizer", "--out", world / "store")
    assert stored.returncode == 0, stored.stderr
    assert "80 documents" in stored.stderr
    assert (world / "store" / "tokens.bin").read_bytes() == (source / "store" / "tokens.bin").read_bytes()
    listed = command("collocations", world / "store", "--out", world / "list.tsv", "--least", 3, "--size", 20)
    assert listed.returncode == 0, listed.stderr
    assert "of 2 words" in listed.stderr
    assert command("collocations", world / "store", "--out", world / "list.tsv").returncode == 2
    recipe = written(tmp_path / "pretrain.yaml", pretraining(world, tmp_path / "run", quiet=False))
    seen = command("inspect", recipe, "--examples", 2)
    assert seen.returncode == 0, seen.stderr
    assert "sequence 2" in seen.stdout
    assert "[MASK]←" in seen.stdout
    trained = command("pretrain", recipe, "budget.steps=4")
    assert trained.returncode == 0, trained.stderr
    filled = command("fill", tmp_path / "run", "the [MASK] runs", "--top", 2)
    assert len(filled.stdout.splitlines()) == 2, filled.stderr
    vectors = command("embed", tmp_path / "run", "--out", tmp_path / "v.npy", stdin="river\nlamp\n")
    assert vectors.returncode == 0, vectors.stderr
    converted = command("convert", tmp_path / "run", tmp_path / "hf")
    assert converted.returncode == 0, converted.stderr
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "bert"
    tune = written(tmp_path / "finetune.yaml", finetuning(source, tmp_path / "tuned", tmp_path / "hf"))
    tuned = command("finetune", tune)
    assert tuned.returncode == 0, tuned.stderr
    assert "test · 1 seed · accuracy" in tuned.stderr
    scored = command("evaluate", tmp_path / "tuned", "--data", source / "test.tsv")
    shown = json.loads(scored.stdout)[str(source / "test.tsv")]["scores"]["accuracy"]["value"]
    assert shown == json.loads((tmp_path / "tuned" / "result.json").read_text())["seeds"]["0"]["test"]["accuracy"]
    answers = command("predict", tmp_path / "tuned", stdin='{"text": "river stone"}\n')
    assert json.loads(answers.stdout)["label"] in "abc"


def test_a_task_of_ones_own_is_used_by_naming_its_module(world: Path, pretrained: Path, tmp_path: Path) -> None:
    """Fine-tuned with `plugins`, the checkpoint is opened where the module is named, and refused where it is not."""
    (tmp_path / "shouting.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom didact.tasks import Classify\n"
        "@dataclass(frozen=True)\nclass Shout(Classify):\n    kind: ClassVar[str] = 'shout'\nTASKS = (Shout,)\n"
    )
    values = finetuning(world, tmp_path / "r", pretrained, task={"shout": {}}, plugins=["shouting"])
    file = written(tmp_path / "run.yaml", values)

    def here(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "didact", *map(str, arguments)],
            input='{"text": "river"}\n', capture_output=True, text=True, cwd=tmp_path, env=environment(),
        )  # fmt: skip

    done = here("finetune", file)
    assert done.returncode == 0, done.stderr
    assert here("predict", tmp_path / "r").returncode == 2
    used = here("predict", tmp_path / "r", "--plugin", "shouting")
    assert used.returncode == 0, used.stderr
    assert json.loads(used.stdout)["label"] in "abc"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pretrain", "none.yaml"], "none.yaml: no such run file"),
        (["prepare", "no-such-corpus.txt", "--tokenizer", "x", "--out", "y"], "x"),
        (["tokenizer", "no-such-corpus.txt", "--out", "y"], "no-such-corpus.txt"),
        (["prepare", ".", "--tokenizer", "x", "--out", "store"], "store: lies in the corpus ."),
        (["tokenizer", ".", "--out", "y/tokenizer"], "y/tokenizer: lies in the corpus ."),
        (["evaluate", "no-such-model", "--data", "x"], "no-such-model"),
        (["lab", "no-such-grid.yaml"], "no-such-grid.yaml"),
        (["bench", "no-such-benchmark"], "no-such-benchmark"),
        (["convert", "no-such-model", "y"], "no-such-model"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "didact", *arguments],
        capture_output=True, text=True, cwd=tmp_path, env=environment() | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("didact: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loss_that_is_no_number_ends_with_3(world: Path, tmp_path: Path) -> None:
    values = pretraining(world, tmp_path / "r", optimizer={"learning_rate": 1e30, "clip": 0}, budget={"steps": 50})
    done = command("pretrain", written(tmp_path / "run.yaml", values))
    assert done.returncode == 3, done.stderr
    assert "the loss of 'mlm' is nan at step" in done.stderr


def test_ctrl_c_saves_says_how_to_go_on_and_goes_on_exactly(world: Path, tmp_path: Path) -> None:
    def begun(run: str) -> list[str]:
        values = pretraining(world, tmp_path / run, budget={"steps": 400}, validation={"every": 100, "sequences": 8})
        path = written(tmp_path / f"{run}.yaml", values)
        return [sys.executable, "-m", "didact", "pretrain", str(path), "checkpoints.every=1000"]

    def losses(run: str) -> list[tuple[int, float]]:
        lines = (json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines())
        return [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]

    process = subprocess.Popen(begun("broken"), stderr=subprocess.PIPE, text=True, env=environment())
    file = tmp_path / "broken" / "metrics.jsonl"
    while process.poll() is None and not (file.is_file() and file.stat().st_size > 500):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "go on with: didact pretrain" in said
    assert "Traceback" not in said
    assert not (tmp_path / "broken" / "result.json").exists(), "it was interrupted before its end"
    for run in ("broken", "whole"):
        done = subprocess.run(begun(run), capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
    assert losses("broken") == losses("whole")


def test_nobody_reads_the_output(pretrained: Path) -> None:
    """`didact … | head -0`: no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "didact", "fill", str(pretrained), "the [MASK] runs", "--top", "100"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "")
