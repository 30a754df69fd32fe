"""The documentation says what the code does: generated pages, run files, commands, links, examples."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
import textwrap
from pathlib import Path

import pytest
import typer
import yaml
from run_tools import pretraining

from didact.cli.app import app
from didact.data.documents import FORMATS
from didact.lab.grid import Grid
from didact.runs import runfile
from didact.runs.build import objective_of, task_of
from didact.runs.fewshot import TaskFile
from didact.runs.pretrain import pretrain
from didact.runs.schema import FinetuneRun, PretrainRun
from didact.tokenization.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
EVERY = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_generated_pages_are_what_the_code_says() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    for name, make in generate["PAGES"].items():
        stale = f"docs/{name} is stale: python docs/generate.py"
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == make(), stale


@EVERY
def test_run_files_are_valid(page: Path, world: Path) -> None:
    """Down to the fields of objectives and tasks, unless they are a plugin's."""
    tokenizer = Tokenizer.load(world / "tokenizer")
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(block)
        if "fewshot" in values:
            runfile.checked(TaskFile, values, page).task()
        elif "grid" in values:
            runfile.checked(Grid, values, page)
        elif "task" in values:
            run: FinetuneRun = runfile.checked(FinetuneRun, values, page)
            task_of(run.task, run.length)
        elif "run" in values and not values.get("plugins"):
            objective = objective_of(runfile.checked(PretrainRun, values, page).objective, tokenizer)
            paired = {cls.kind: cls.pairs for cls in FORMATS}[values["data"]["format"]]
            assert paired or objective.relation is None


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `$ didact …` line, comments and what comes after a pipe left out."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    found = [re.search(r"\bdidact ((?!-)\S.*)", line.partition(" # ")[0]) for line in lines]
    return [shlex.split(re.split(r" [|>] ", match[1])[0]) for match in found if match]


@EVERY
def test_commands_exist_and_know_their_options(page: Path) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb, *arguments in commands(page):
        assert verb in verbs, f"didact {verb}"
        own = {name for parameter in verbs[verb].params for name in (*parameter.opts, *parameter.secondary_opts)}
        for argument in arguments:
            assert not argument.startswith("-") or argument.partition("=")[0] in own, f"didact {verb} {argument}"
        with verbs[verb].make_context(verb, list(arguments)) as context:  # as the command itself would read the line
            if "run_file" in context.params:
                schema = FinetuneRun if verb == "finetune" else PretrainRun
                runfile.read(ROOT / context.params["run_file"], schema, context.params["changes"] or ())


@EVERY
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads], target


@pytest.fixture
def place(world: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples speak of: tok, store, runs/mini; the registries as they were, afterwards."""
    (tmp_path / "runs").mkdir()
    for name, there in (("store", world / "store"), ("tok", world / "tokenizer"), ("runs/mini", pretrained)):
        (tmp_path / name).symlink_to(there)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for registry, room, _ in runfile.REGISTRIES:
        module = importlib.import_module(room)
        monkeypatch.setattr(module, registry, getattr(module, registry))
    return tmp_path


@EVERY
@pytest.mark.filterwarnings("ignore")  # of the libraries that the examples compare with
def test_python_examples_run(page: Path, request: pytest.FixtureRequest) -> None:
    examples = blocks(page, "python")
    if not examples:
        return
    place: Path = request.getfixturevalue("place")
    names: dict[str, object] = {}
    for example in examples:
        file = re.match(r"# (\w+\.py)\n", example)
        if file:
            (place / file[1]).write_text(example, encoding="utf-8")
        else:
            exec(compile(textwrap.dedent(example), str(page), "exec"), names)
    sys.modules.pop("own", None)


def test_the_plugin_of_the_page_trains(place: Path, world: Path) -> None:
    page = ROOT / "docs" / "plugins.md"
    (place / "own.py").write_text(blocks(page, "python")[0], encoding="utf-8")
    (own,) = (yaml.safe_load(block) for block in blocks(page, "yaml"))
    values = pretraining(world, place / "own", plugins=own["plugins"], objective=own["objective"])
    values["model"] = {**values["model"], **own["model"]}
    values["data"] |= {"format": own["data"]["format"]}
    run = pretrain(runfile.checked(PretrainRun, values))
    assert yaml.safe_load((run / "run.yaml").read_text())["objective"]["word_count"]["unit"] == 50
    assert '"word_count/loss"' in (run / "result.json").read_text()
    sys.modules.pop("own", None)
