"""What is gathered for the report: curves against tokens, and what it ran on."""

from __future__ import annotations

import json
from pathlib import Path

from didact.lab.quickstart.results import environment, pretraining

EVENTS = [
    {"kind": "train", "step": 10, "tokens": 1000, "seconds": 1.0, "loss": 7.0, "loss/mlm": 6.5, "accuracy/nsp": 0.5},
    {"kind": "train", "step": 20, "tokens": 2000, "seconds": 2.0, "loss": 6.0, "loss/mlm": 5.5, "accuracy/nsp": 0.6},
    {"kind": "validation", "step": 20, "loss": 6.1, "mlm@15/loss": 5.75, "nsp/accuracy": 0.625},
    {"kind": "note", "text": "anything else"},
]


def test_curves_are_against_the_tokens_read_so_far(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    result = {"steps": 20, "tokens": 2000, "seconds": 2.0, "flops": 9.0, "validation": {}, "best": None}
    (tmp_path / "result.json").write_text(json.dumps(result))
    found = pretraining(tmp_path)
    assert found["train_curves"] == {
        "loss/mlm": [(1000.0, 6.5), (2000.0, 5.5)], "accuracy/nsp": [(1000.0, 0.5), (2000.0, 0.6)],
    }  # fmt: skip
    assert found["validation_curves"] == {"mlm@15/loss": [(2000.0, 5.75)], "nsp/accuracy": [(2000.0, 0.625)]}
    assert (found["steps"], found["tokens"], found["seconds"]) == (20, 2000, 2.0)


def test_what_it_ran_on(tmp_path: Path) -> None:
    assert "how" not in environment(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "pretrain.log").write_text("CPU (cpu): fp32, not compiled\nstep 1\n")
    found = environment(tmp_path)
    assert found["how"] == "CPU (cpu): fp32, not compiled"
    assert found["torch"].startswith("2.")
    assert int(found["cores used"]) >= 1
