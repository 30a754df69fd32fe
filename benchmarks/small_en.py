"""The small English encoder that comes with didact: put where it is shipped, and its first steps repeated.

python -m benchmarks.small_en ship RUN NOTES.md    RUN's last checkpoint, in bfloat16, into didact/shipped/small-en,
                                                   with the run file, its first losses and a card with these notes;
                                                   says what rounding the weights costs on held-out documents
python -m benchmarks.small_en check STORE          the shipped run file for as many steps, from nothing: the largest
                                                   difference from the losses that were shipped; 1 above 1e-3
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from didact import hub
from didact.errors import InputError
from didact.hub.fetch import SHIPPED
from didact.runs import runfile
from didact.runs.pretrain import assemble, pretrain
from didact.runs.schema import PretrainRun
from didact.training.step import Step

NAME = "small-en"
STEPS = 200  # whose losses are shipped
NEAR = 1e-3  # of a loss: what another processor may differ by
LOSSES, RUN_FILE = "first_losses.json", "run.yaml"


def ship(run: Path, notes: Path, target: Path) -> dict[str, dict[str, float]]:
    """Validation figures of the weights as they were trained and as they are shipped."""
    file = runfile.read(run / RUN_FILE, PretrainRun)
    if not (run / "result.json").is_file():
        raise InputError("not finished", file=run, expected="a run with result.json")
    shutil.rmtree(target, ignore_errors=True)
    hub.convert(run / "last", target, dtype=torch.bfloat16)
    portable = file.model_copy(update={"run": Path("runs") / NAME, "until": None})
    (target / RUN_FILE).write_text(runfile.dump(portable), encoding="utf-8")
    (target / LOSSES).write_text(json.dumps(losses(run), indent=0) + "\n", encoding="utf-8")
    pretrained = hub.load(target)
    card = hub.card(pretrained, NAME, license="apache-2.0", language="en", notes=notes.read_text(encoding="utf-8"))
    (target / "README.md").write_text(str(card), encoding="utf-8")
    return {name: held_out(file, folder) for name, folder in (("trained", run / "last"), ("shipped", target))}


def losses(run: Path) -> list[float]:
    """Of the first steps, one each."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}
    missing = [step for step in range(1, STEPS + 1) if step not in found]
    if missing:
        raise InputError(f"no loss of step {missing[0]}", file=run / "metrics.jsonl", expected="log_every: 1")
    return [found[step] for step in range(1, STEPS + 1)]


@torch.no_grad()
def held_out(file: PretrainRun, checkpoint: Path) -> dict[str, float]:
    """The run's own validation of a checkpoint, in float32."""
    parts = assemble(file)
    if parts.validation is None:
        raise InputError("no document is held out", file=checkpoint, expected="a store with some")
    parts.models["main"].load_state_dict(hub.load(checkpoint).model.state_dict())
    return dict(parts.validation(Step(parts.models, parts.objective).eval()))


def check(store: Path, source: Path) -> float:
    """The largest difference from what was shipped, as a share of the loss."""
    wanted = json.loads((source / LOSSES).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        changes = [f"run={folder}/run", f"data.train={store}", f"until={STEPS}"]
        run = pretrain(runfile.read(source / RUN_FILE, PretrainRun, changes))
        found = losses(run)
    return max(abs(a - b) / abs(b) for a, b in zip(found, wanted, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_en", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    shipping = verbs.add_parser("ship")
    shipping.add_argument("run", type=Path)
    shipping.add_argument("notes", type=Path)
    checking = verbs.add_parser("check")
    checking.add_argument("store", type=Path)
    for verb in (shipping, checking):
        verb.add_argument("--folder", type=Path, default=SHIPPED / NAME, help="in place of the shipped one")
    given = parser.parse_args(arguments)
    if given.verb == "ship":
        figures = ship(given.run, given.notes, given.folder)
        for metric, trained in figures["trained"].items():
            print(f"{metric}: {trained:.5f} as trained, {figures['shipped'][metric]:.5f} as shipped")
        size = sum(path.stat().st_size for path in given.folder.rglob("*") if path.is_file())
        print(f"{given.folder}: {size / 1e6:.2f} MB")
        return 0
    worst = check(given.store, given.folder)
    print(f"the first {STEPS} losses differ by at most {worst:.2e} of themselves")
    return int(worst > NEAR)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as problem:
        sys.exit(f"benchmarks: {problem}")
