"""The quickstart: the whole road on real input, from installed packages to a report, on a machine without a network.

    documents -> four tasks, tokenizer -> store -> pre-training, from nothing or from a checkpoint -> fine-tuning from
    the pre-trained weights, from scratch, and from the checkpoint as it comes -> report.html

Everything is done by `didact`'s own commands, from run files that are left in the folder to be read, changed and run
again. A stage that is done is not done again; an interrupted one goes on where it was.
"""

from __future__ import annotations

from pathlib import Path

from didact.errors import InputError
from didact.lab.quickstart import plan as plans
from didact.lab.quickstart import results
from didact.lab.quickstart.page import write_page
from didact.lab.quickstart.plan import FOLDER, Plan
from didact.lab.quickstart.show import Shown
from didact.lab.quickstart.stages import carry_out, stages
from didact.runs import runfile
from didact.runs.common import apart
from didact.training.environment import cores
from didact.training.policy import pick_device


def run(out: Path, *, plan: Path = FOLDER / "quickstart.yaml") -> Path:
    """Carry out the plan in `out`; the path of OUT/report.html.

    Raises InputError where `out` was begun with another plan, and whatever ended a stage.
    """
    chosen = plans.read(plan)
    _begin(chosen, out)
    device = pick_device().type
    threads = 1 if device == "cpu" else max(1, cores() // 2)
    with Shown() as shown:
        took = carry_out(stages(chosen, out, cores(), threads), out, shown.now, shown.line)
        found = results.collect(chosen, out, took)
        page = write_page(found, out)
        for verdict in found["verdicts"]:
            shown.line(verdict)
        shown.line(f"{page} ({found['seconds'] / 60:.1f} minutes, at most {found['peak_mib']:.0f} MiB at once)")
    return page


def _begin(plan: Plan, out: Path) -> None:
    """Write the plan and the run files. A folder that was begun with another plan is refused."""
    file = out / "plan.yaml"
    if file.is_file() and (before := plans.read(file)) != plan:
        where, was, now = apart("plan", before.model_dump(mode="json"), plan.model_dump(mode="json"))
        raise InputError(
            f"begun with another plan ({where.removeprefix('plan.')} was {was!r}, now {now!r})",
            file=file,
            expected=f"another folder (--out, make's RUNS=…); didact lab {file} --out {out} goes on with that plan",
        )
    plans.write(plan, out)
    (out / "pretrain.yaml").write_text(runfile.dump(plans.pretrain_run(plan, out)), encoding="utf-8")
    (out / "finetune").mkdir(exist_ok=True)
    for task in plan.tasks:
        for arm in plan.arms:
            text = runfile.dump(plans.finetune_run(plan, out, task, arm))
            (out / "finetune" / f"{task}-{arm}.yaml").write_text(text, encoding="utf-8")
