"""The small English encoder that comes with didact: put where it is shipped, and its first steps repeated.

python -m benchmarks.small_en ship RUN NOTES.md    RUN's last checkpoint, in bfloat16, into didact/shipped/small-en,
                                                   with the run file, its first losses, its curve and a card with these
                                                   notes; says what rounding the weights costs on held-out documents
python -m benchmarks.small_en seams RUN            where RUN was interrupted, and how far its loss jumped there, in
                                                   standard errors
python -m benchmarks.small_en check STORE          the shipped run file for as many steps, from nothing: the largest
                                                   difference from the losses that were shipped; 1 above 1e-3
python -m benchmarks.small_en leanings MODEL       whom a model takes for "he": for the card's account of its biases
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from didact import hub
from didact.data.store import Store
from didact.data.stored import META, sha256
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
    if target.is_dir() and any(target.iterdir()) and not (target / LOSSES).is_file():
        raise InputError("something else lies here", file=target, expected="a new folder, or one that was shipped to")
    told, first = notes.read_text(encoding="utf-8"), first_losses(run, file)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as aside:
        made = Path(aside) / NAME
        hub.convert(run / "last", made, dtype=torch.bfloat16)
        compute_in_float32(made / "config.json")
        portable = file.model_copy(update={"run": Path("runs") / NAME, "until": None})
        (made / RUN_FILE).write_text(runfile.dump(portable), encoding="utf-8")
        (made / LOSSES).write_text(json.dumps(first, indent=1) + "\n", encoding="utf-8")
        draw(run, made / CURVE)
        card = hub.card(hub.load(made), NAME, license="apache-2.0", language="en", notes=told, on_hub=False)
        (made / "README.md").write_text(str(card), encoding="utf-8")
        figures = {name: held_out(file, folder) for name, folder in (("trained", run / "last"), ("shipped", made))}
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return figures


def compute_in_float32(config: Path) -> None:
    """transformers computes, and trains further, in what config.json says; bfloat16 is how the weights lie, no more."""
    told = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(told | {"dtype": "float32"}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def first_losses(run: Path, file: PretrainRun) -> dict[str, Any]:
    """What a repetition is compared with: the losses, of what store, on what."""
    start = json.loads((run / "starts.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return {"store": store_of(file), "on": start, "losses": losses(run)}


def store_of(file: PretrainRun) -> dict[str, str]:
    """By what a store is known: its tokenizer, and the sums of its files."""
    (part,) = file.data.stores
    return {"tokenizer": Store(part.store).fingerprint, "sums": sha256(part.store / META)}


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
    """(step, mean loss of the AROUND steps before, after, how surely it jumped there) of every interruption; not a
    number where fewer than AROUND steps lie on one side.

    The last figure is a jump's size in its standard errors, estimated beside a cubic that the loss of the 2 x AROUND
    steps on either side follows anyway (least squares).
    """
    steps = list(_steps(run))
    if [step for step, _, _ in steps] != list(range(1, len(steps) + 1)):
        raise InputError("losses of some steps alone", file=run / "metrics.jsonl", expected="log_every: 1")
    loss = np.array([loss for _, _, loss in steps])
    return [_seam(loss, step) for step in interruptions(run)]


def _seam(loss: np.ndarray, step: int) -> tuple[int, float, float, float]:
    if not AROUND <= step <= len(loss) - AROUND:
        return step, math.nan, math.nan, math.nan
    at = np.arange(max(0, step - 2 * AROUND), min(len(loss), step + 2 * AROUND))
    smooth = np.vander((at - step) / AROUND, 4)
    given = np.column_stack([smooth, at >= step])
    found, *_ = np.linalg.lstsq(given, loss[at], rcond=None)
    noise = float(np.sum((loss[at] - given @ found) ** 2)) / (len(at) - given.shape[1])
    error = math.sqrt(noise * np.linalg.inv(given.T @ given)[-1, -1])
    before, after = (float(loss[side].mean()) for side in (slice(step - AROUND, step), slice(step, step + AROUND)))
    return step, before, after, float(found[-1]) / error


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
    given = store_of(runfile.read(source / RUN_FILE, PretrainRun, [f"data.train={store}"]))
    for name, what in (("tokenizer", "a tokenizer of other pieces"), ("sums", "other texts, or texts cut otherwise")):
        if given[name] != wanted["store"][name]:
            raise InputError(f"{what}: not the store that was trained on", file=store, expected="the card's data")
    print(f"shipped: {json.dumps(wanted['on'])}")
    with tempfile.TemporaryDirectory() as folder:
        changes = [f"run={folder}/run", f"data.train={store}", f"until={STEPS}"]
        run = pretrain(runfile.read(source / RUN_FILE, PretrainRun, changes))
        found = losses(run)
        print(f"now: {(run / 'starts.jsonl').read_text(encoding='utf-8').strip()}")
    return max(abs(a - b) / abs(b) for a, b in zip(found, wanted["losses"], strict=True))


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
            print(f"after step {step}: {before:.4f} before, {after:.4f} after, a jump of {moved:+.2f} standard errors")
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
