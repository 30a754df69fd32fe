"""The small English encoder that comes with didact: put where it is shipped, and its first steps repeated.

python -m benchmarks.small_en ship RUN NOTES.md    RUN's last checkpoint, in bfloat16, into didact/shipped/small-en,
                                                   with the run file, its first losses, its curve and a card with these
                                                   notes; says what rounding the weights costs on held-out documents
python -m benchmarks.small_en seams RUN            where RUN was interrupted, and how far its loss moved there, in
                                                   standard deviations of how far it moves anywhere else
python -m benchmarks.small_en check STORE          the shipped run file for as many steps, from nothing: the largest
                                                   difference from the losses that were shipped; 1 above 1e-3
python -m benchmarks.small_en leanings MODEL       whom a model takes for "he": for the card's account of its biases
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from didact import hub
from didact.errors import InputError
from didact.hub.fetch import SHIPPED
from didact.lab.figures import validation_curve
from didact.model import Pretrained
from didact.runs import runfile
from didact.runs.pretrain import assemble, pretrain
from didact.runs.schema import PretrainRun
from didact.training.record import read_metrics
from didact.training.step import Step

NAME = "small-en"
STEPS = 200  # whose losses are shipped
NEAR = 1e-3  # of a loss: what another processor may differ by
LOSSES, RUN_FILE, CURVE = "first_losses.json", "run.yaml", "curve.png"
OCCUPATIONS = ("captain", "cook", "doctor", "farmer", "judge", "minister", "nurse", "servant", "teacher", "writer")
SAID = "The {} said that [MASK] would come in the evening."
AROUND = 100  # steps on either side of an interruption, whose mean losses are compared


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
    draw(run, target / CURVE)
    pretrained = hub.load(target)
    told = notes.read_text(encoding="utf-8")
    card = hub.card(pretrained, NAME, license="apache-2.0", language="en", notes=told, on_hub=False)
    (target / "README.md").write_text(str(card), encoding="utf-8")
    return {name: held_out(file, folder) for name, folder in (("trained", run / "last"), ("shipped", target))}


def losses(run: Path) -> list[float]:
    """Of the first steps, one each."""
    found = {step: loss for step, _, loss in _steps(run)}
    missing = [step for step in range(1, STEPS + 1) if step not in found]
    if missing:
        raise InputError(f"no loss of step {missing[0]}", file=run / "metrics.jsonl", expected="log_every: 1")
    return [found[step] for step in range(1, STEPS + 1)]


def _steps(run: Path, name: str = "loss") -> Iterator[tuple[int, int, float]]:
    """(step, real tokens so far, loss) of every step that was logged; name: of which loss."""
    for event in read_metrics(run / "metrics.jsonl"):
        if event["kind"] == "train":
            yield event["step"], event["tokens"], event[name]


def interruptions(run: Path) -> list[int]:
    """After which steps the run went on from a checkpoint."""
    starts = [json.loads(line) for line in (run / "starts.jsonl").read_text(encoding="utf-8").splitlines()]
    return [start["step"] for start in starts if start["step"] > 0]


def seams(run: Path) -> list[tuple[int, float, float, float]]:
    """(step, mean loss of the AROUND steps before, after, by how much more it moved than usual) of every interruption.

    Usual is the mean movement from AROUND steps to the next AROUND; the last figure is in standard deviations of such a
    movement, as the noise of single steps makes them (half the variance of their differences).
    """
    steps = list(_steps(run))
    if [step for step, _, _ in steps] != list(range(1, len(steps) + 1)):
        raise InputError("losses of some steps alone", file=run / "metrics.jsonl", expected="log_every: 1")
    loss = np.array([loss for _, _, loss in steps])
    sums = np.concatenate([[0.0], np.cumsum(loss)])
    means = (sums[AROUND:] - sums[:-AROUND]) / AROUND  # [i]: of steps i + 1 to i + AROUND
    moved = means[AROUND:] - means[:-AROUND]  # [i]: at step i + AROUND
    usual = float(np.median(moved))
    noise = float(np.sqrt(np.var(np.diff(loss[len(loss) // 2 :])) / AROUND))
    return [
        (step, float(means[step - AROUND]), float(means[step]), (float(moved[step - AROUND]) - usual) / noise)
        for step in interruptions(run)
        if AROUND <= step <= len(loss) - AROUND
    ]


def draw(run: Path, file: Path) -> None:
    """The loss of masked words in training, as means of a four-hundredth of the run, and in validation, against real
    tokens; a line where the run was interrupted."""
    from matplotlib.figure import Figure

    steps = list(_steps(run, "loss/mlm"))
    size = max(1, len(steps) // 400)
    means = [
        (part[-1][1], sum(loss for _, _, loss in part) / len(part))
        for part in (steps[at : at + size] for at in range(0, len(steps), size))
    ]
    logged, so_far = [step for step, _, _ in steps], [tokens for _, tokens, _ in steps]
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*means, strict=True), linewidth=0.8, label="training")
    for name in (name for name in ("mlm/loss", "mlm@15/loss") if validation_curve(run / "metrics.jsonl", name)[0]):
        axes.plot(*validation_curve(run / "metrics.jsonl", name), marker=".", linewidth=1, label=f"held out, {name}")
    for number, step in enumerate(interruptions(run)):
        label = "interrupted" if number == 0 else None
        axes.axvline(float(np.interp(step, logged, so_far)), color="0.6", linewidth=0.8, linestyle="--", label=label)
    axes.set_xlabel("real tokens")
    axes.set_ylabel("nats a masked word piece")
    axes.grid(linewidth=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=110)


@torch.no_grad()
def held_out(file: PretrainRun, checkpoint: Path) -> dict[str, float]:
    """The run's own validation of a checkpoint, in float32."""
    parts = assemble(file)
    if parts.validation is None:
        raise InputError("no document is held out", file=checkpoint, expected="a store with some")
    parts.models["main"].load_state_dict(hub.load(checkpoint).model.state_dict())
    return dict(parts.validation(Step(parts.models, parts.objective).eval()))


def leanings(model: Pretrained) -> dict[str, tuple[float, float]]:
    """Of each occupation, the probabilities of "he" and of "she" where either could stand."""
    found = {}
    for occupation in OCCUPATIONS:
        (blank,) = model.fill(SAID.format(occupation), top=model.tokenizer.vocabulary)
        told = {filled.token: filled.probability for filled in blank}
        found[occupation] = (told["he"], told["she"])
    return found


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
    seaming = verbs.add_parser("seams")
    seaming.add_argument("run", type=Path)
    leaning = verbs.add_parser("leanings")
    leaning.add_argument("model")
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
    if given.verb == "seams":
        for step, before, after, moved in seams(given.run):
            print(f"after step {step}: {before:.4f} before, {after:.4f} after, {moved:+.2f} standard deviations")
        return 0
    if given.verb == "leanings":
        for occupation, (he, she) in leanings(hub.load(given.model)).items():
            print(f"{occupation}: he {he:.4f}, she {she:.4f}, he of both {he / (he + she):.2f}")
        return 0
    worst = check(given.store, given.folder)
    print(f"the first {STEPS} losses differ by at most {worst:.2e} of themselves")
    return int(worst > NEAR)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as problem:
        sys.exit(f"benchmarks: {problem}")
