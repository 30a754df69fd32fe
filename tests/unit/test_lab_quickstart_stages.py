"""Stages: what is done is not done again, time and memory are kept and added up, failures keep what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from didact.errors import InputError
from didact.lab.commands import Command
from didact.lab.quickstart import plan as plans
from didact.lab.quickstart.plan import FOLDER
from didact.lab.quickstart.stages import Stage, carry_out, stages


def silent(_line: str) -> None:
    pass


def counting(folder: Path, name: str, code: int = 0) -> Command:
    """Adds a letter to NAME.count each time it is carried out, then makes NAME.made or fails."""
    text = (
        f"import sys; from pathlib import Path; f = Path({str(folder)!r})\n"
        f"with (f / '{name}.count').open('a') as file: file.write('x')\n"
        f"sys.exit({code}) if {code} else (f / '{name}.made').write_text('')"
    )
    return Command(name, ("-c", text), folder / f"{name}.log", folder / f"{name}.made")


def times(folder: Path, name: str) -> int:
    return len((folder / f"{name}.count").read_text())


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    chosen = [
        Stage("first", (counting(tmp_path, "a"),)),
        Stage("second", (counting(tmp_path, "b"), counting(tmp_path, "c")), 2),
    ]
    said: list[str] = []
    told = carry_out(chosen, tmp_path, silent, said.append)
    assert set(told["second"]["commands"]) == {"b", "c"}
    assert told["first"]["seconds"] > 0
    assert [line.partition(" · ")[0] for line in said] == ["[1/2] first", "[2/2] second"]
    (tmp_path / "c.made").unlink()
    again = carry_out(chosen, tmp_path, silent, silent)
    assert [times(tmp_path, name) for name in "abc"] == [1, 1, 2]
    assert again["first"] == told["first"]
    assert json.loads((tmp_path / "stages.json").read_text()) == again


def test_time_is_added_up_over_restarts(tmp_path: Path) -> None:
    stage = Stage("only", (counting(tmp_path, "a"),))
    first = carry_out([stage], tmp_path, silent, silent)["only"]["seconds"]
    (tmp_path / "a.made").unlink()
    both = carry_out([stage], tmp_path, silent, silent)["only"]["seconds"]
    assert both > first


def test_a_failure_keeps_what_was_measured_and_stops_there(tmp_path: Path) -> None:
    chosen = [Stage("bad", (counting(tmp_path, "a", code=2),)), Stage("next", (counting(tmp_path, "b"),))]
    with pytest.raises(InputError):
        carry_out(chosen, tmp_path, silent, silent)
    assert json.loads((tmp_path / "stages.json").read_text())["bad"]["seconds"] > 0
    assert not (tmp_path / "b.count").exists()


@pytest.mark.parametrize("start", [None, "small"])
@pytest.mark.parametrize("file", ["quickstart-scratch.yaml", "quickstart-long.yaml"])
def test_a_stage_makes_what_the_next_one_reads(file: str, start: str | None, tmp_path: Path) -> None:
    """Every file in OUT that a command is given is there before: a run file, or made by an earlier stage."""
    plan = plans.read(FOLDER / file)
    if start is not None:
        plan = plan.model_copy(update={"start": start, "tokenizer": None})
    run_files = {tmp_path / "pretrain.yaml"} | {
        tmp_path / "finetune" / f"{task}-{arm}.yaml" for task in plan.tasks for arm in plan.arms
    }
    found = stages(plan, tmp_path, cores=2, threads=1)
    there = set(run_files)
    for stage in found:
        made = {command.made for command in stage.commands}
        roots = {path for one in made for path in (one, *one.parents)}
        for command in stage.commands:
            read = [Path(a) for a in command.arguments if a.startswith(str(tmp_path)) and Path(a) != tmp_path]
            assert all(path in there or path in roots for path in read), command
        there |= roots
    assert len({command.made for stage in found for command in stage.commands}) == sum(len(s.commands) for s in found)
    assert found[4].at_once == 2
    assert len(found[4].commands) == len(plan.arms) * len(plan.tasks) + 1
    assert ("tokenizer" in [command.name for stage in found for command in stage.commands]) == (start is None)
    assert (list(found[2].commands[0].arguments)[4:6] == ["--tokenizer", "small"]) == (start is not None)
