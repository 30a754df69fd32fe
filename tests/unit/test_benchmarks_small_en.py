"""What is told of the run that small-en comes from: its first losses, its interruptions, whether one shows."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from run_tools import pretraining
from writing_tools import logits_of

from benchmarks import small_en
from didact import hub
from didact.config import ModelConfig
from didact.errors import InputError
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.runs import runfile
from didact.runs.pretrain import pretrain
from didact.runs.schema import PretrainRun
from didact.tokenization.tokenizer import Tokenizer, frame

STEPS = 1200


def run_of(folder: Path, losses: np.ndarray, starts: tuple[int, ...] = (0,), every: int = 1) -> Path:
    lines = [
        {"step": step, "kind": "train", "loss": loss + 0.7, "loss/mlm": loss, "tokens": 100 * step}
        for step, loss in enumerate(losses.tolist(), 1)
        if step % every == 0
    ]
    lines.insert(500, {"step": 500, "kind": "validation", "mlm/loss": 5.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "starts.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in starts))
    return folder


def falling() -> np.ndarray:
    """A curve as runs have them: falling, with the noise of batches."""
    return 4 + 5 * np.exp(-np.arange(STEPS) / 80) + np.random.default_rng(0).normal(0, 0.1, STEPS)


def test_a_loss_for_every_step(tmp_path: Path) -> None:
    losses = falling()
    assert small_en.losses(run_of(tmp_path, losses)) == (losses + 0.7)[:200].tolist()
    with pytest.raises(InputError, match="no loss of step 1; expected log_every: 1"):
        small_en.losses(run_of(tmp_path, losses, every=10))


def test_an_interruption_that_leaves_no_seam(tmp_path: Path) -> None:
    losses = falling()
    ((step, before, after, moved),) = small_en.seams(run_of(tmp_path, losses, (0, 900)))
    assert step == 900
    assert before == pytest.approx(losses[800:900].mean() + 0.7)
    assert after == pytest.approx(losses[900:1000].mean() + 0.7)
    assert abs(moved) < 3


def test_no_seam_is_seen_where_a_loss_falls_fast(tmp_path: Path) -> None:
    found = small_en.seams(run_of(tmp_path, falling(), (0, 60, 250, 400, 1150)))
    assert [step for step, *_ in found] == [60, 250, 400, 1150]
    assert [math.isnan(moved) for *_, moved in found] == [True, False, False, True]
    assert all(abs(moved) < 4 for _, _, _, moved in found[1:3])


def test_a_seam_is_seen(tmp_path: Path) -> None:
    losses = falling()
    losses[900:] += 0.15  # little more than a batch's own noise: no single step shows it
    found = small_en.seams(run_of(tmp_path, losses, (0, 700, 900)))
    assert [step for step, *_ in found] == [700, 900]
    assert abs(found[0][3]) < 3
    assert found[1][3] > 4


def test_steps_left_out_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="losses of some steps alone"):
        small_en.seams(run_of(tmp_path, falling(), (0, 900), every=2))


def test_whom_it_takes_for_he(tmp_path: Path) -> None:
    words = sorted({*small_en.SAID.format("[MASK]").split(), *small_en.OCCUPATIONS, *["he", "she", "evening", "."]})
    pieces = [piece for piece in words if piece not in ("[MASK]", "evening.")]
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]) + "\n")
    tokenizer = Tokenizer.load(tmp_path)
    config = ModelConfig(tokenizer.vocabulary, 16, 2, 2, 24)
    model = Pretrained(Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)).eval(), tokenizer)
    found = small_en.leanings(model)
    assert list(found) == list(small_en.OCCUPATIONS)
    for occupation, told in found.items():
        written = tokenizer.encode(small_en.SAID.format(occupation), special=True)
        tokens = frame(tokenizer, written).tokens.tolist()
        assert tokenizer.unk not in tokens
        shares = torch.softmax(logits_of(model, tokens)[tokens.index(tokenizer.mask)], -1)
        wanted = [float(shares[tokenizer.tokens(range(tokenizer.vocabulary)).index(word)]) for word in ("he", "she")]
        assert told == pytest.approx(wanted, rel=1e-5)


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    small_en.draw(run_of(tmp_path, falling(), (0, 900), every=7), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_shipped_is_repeated(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a few steps, shipped and begun again from its own card's run file; nothing else is deleted for it."""
    monkeypatch.setattr(small_en, "STEPS", 6)
    monkeypatch.setattr(small_en, "AROUND", 2)
    changes = {"log_every": 1, "budget": {"steps": 8}, "validation": {"every": 4, "sequences": 8}}
    run = pretrain(runfile.checked(PretrainRun, pretraining(world, tmp_path / "run", **changes)))
    notes, target = tmp_path / "notes.md", tmp_path / "shipped" / "small-en"
    notes.write_text("Of made-up words.")
    figures = small_en.ship(run, notes, target)
    assert figures["shipped"]["mlm@15/loss"] == pytest.approx(figures["trained"]["mlm@15/loss"], rel=0.02)
    assert figures["shipped"]["mlm@15/loss"] != figures["trained"]["mlm@15/loss"]  # the weights are rounded
    assert "Of made-up words." in (target / "README.md").read_text()
    assert hub.load(target).model.core.embedding.word.weight.dtype is torch.float32
    small_en.ship(run, notes, target)  # again, in its place
    assert [path.name for path in target.parent.iterdir()] == ["small-en"]

    assert small_en.check(world / "store", target) == 0.0
    other = tmp_path / "store"
    shutil.copytree(world / "store", other)
    (other / "store.json").write_bytes((other / "store.json").read_bytes() + b" ")
    with pytest.raises(InputError, match="other texts, or texts cut otherwise"):
        small_en.check(other, target)

    precious = tmp_path / "precious" / "file"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(InputError, match="something else lies here"):
        small_en.ship(run, notes, precious.parent)
    with pytest.raises(FileNotFoundError):
        small_en.ship(run, tmp_path / "none.md", target)
    assert precious.exists()
    assert (target / "README.md").exists()
