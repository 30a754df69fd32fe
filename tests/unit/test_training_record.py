from __future__ import annotations

import io
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from didact.errors import InputError
from didact.training import record
from didact.training.record import Recorder, Tracker, cut_back, duration, read_metrics, trackers


class Kept(Tracker):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def log(self, step: int, values: Any) -> None:
        self.seen.append((step, dict(values)))

    def close(self) -> None:
        self.seen.append("closed")


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def said(recorder: Recorder) -> str:
    assert isinstance(recorder.console.file, io.StringIO)
    return recorder.console.file.getvalue()


def test_events_go_to_the_file_and_the_trackers(tmp_path: Path) -> None:
    kept = Kept()
    recorder = Recorder(tmp_path / "metrics.jsonl", True, (kept,))
    recorder.log(3, "train", {"loss": 1.5})
    recorder.log(3, "validation", {"loss/mlm@0.15": 2.5})
    events = [{"step": 3, "kind": "train", "loss": 1.5}, {"step": 3, "kind": "validation", "loss/mlm@0.15": 2.5}]
    assert read_metrics(tmp_path / "metrics.jsonl") == events, "flushed line by line"
    assert recorder.size() == (tmp_path / "metrics.jsonl").stat().st_size
    recorder.close()
    assert kept.seen == [(3, {"train/loss": 1.5}), (3, {"validation/loss/mlm@0.15": 2.5}), "closed"]


def test_it_is_cut_back(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    recorder = Recorder(file, quiet=True)
    recorder.log(1, "train", {})
    size = recorder.size()
    recorder.log(2, "train", {})
    recorder.close()
    with open(file, "ab") as end:
        end.write(b'{"step": 3, "ki')
    assert [line["step"] for line in read_metrics(file)] == [1, 2], "the broken line is no event"
    cut_back(file, size)
    assert file.read_bytes() == b'{"step": 1, "kind": "train"}\n'
    file.write_bytes(b'{"step": 1}\n{"st')
    cut_back(file, 10**6)
    assert file.read_bytes() == b'{"step": 1}\n'
    cut_back(tmp_path / "absent", 0)


def test_the_bar_is_for_terminals(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a", console=console(True))
    recorder.show(7, 1.0, lambda: "loss 1.234 · 99 tokens/s")
    recorder.close()
    assert "step 7" in said(recorder)
    assert "loss 1.234 · 99 tokens/s" in said(recorder)


def test_lines_are_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(record.time, "monotonic", lambda: clock[0])
    recorder = Recorder(tmp_path / "a", console=console(False))
    for step in range(8):
        recorder.show(step, step / 8, lambda: "facts")
        clock[0] += 10
    recorder.close()
    assert said(recorder).splitlines() == ["step 3 · 37.5% · facts", "step 6 · 75.0% · facts"]


@pytest.mark.parametrize("silent", [{"file": None}, {"quiet": True}], ids=str)
def test_silence(silent: dict[str, Any], tmp_path: Path) -> None:
    recorder = Recorder(**{"file": tmp_path / "a", "console": console(True), **silent})
    recorder.say("hello")
    recorder.show(1, 1.0, lambda: "facts")
    recorder.log(1, "train", {})
    recorder.close()
    assert said(recorder) == ""


def test_trackers_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    fake = types.ModuleType("trackio")
    fake.init = lambda **settings: calls.append(settings)  # type: ignore[attr-defined]
    fake.log = lambda values, step: calls.append((step, values))  # type: ignore[attr-defined]
    fake.finish = lambda: calls.append("finished")  # type: ignore[attr-defined]
    fake.__spec__ = types.SimpleNamespace(name="trackio")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "trackio", fake)
    (tracker,) = trackers(("trackio",), tmp_path / "run", 0)
    tracker.log(2, {"loss": 1.0})
    tracker.close()
    assert calls == [{"project": "didact", "name": "run"}, (2, {"loss": 1.0}), "finished"]


def test_trackers_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="record 'mlflow'; expected some of tensorboard, wandb, trackio"):
        trackers(("mlflow",), tmp_path, 0)
    monkeypatch.setattr(record.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="'wandb': the package is not installed; expected pip install wandb"):
        trackers(("wandb",), tmp_path, 0)


def test_tensorboard_writes_events(tmp_path: Path) -> None:
    """In a process of its own: what TensorBoard imports warns."""
    pytest.importorskip("tensorboard", exc_type=ImportError)
    code = (
        "import sys; from pathlib import Path; from didact.training.record import trackers\n"
        "t, = trackers(('tensorboard',), Path(sys.argv[1]), 5); t.log(6, {'train/loss': 1.0}); t.close()"
    )
    root = str(Path(record.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root, timeout=120, capture_output=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (61, "1m01s"), (5400, "1h30m"), (90061, "25h01m")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_are_json(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a", quiet=True)
    recorder.log(1, "train", {"accuracy/β": 0.5})
    recorder.close()
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8"))["accuracy/β"] == 0.5


def test_what_is_not_a_number_is_null_in_the_file(tmp_path: Path) -> None:
    """So that any reader of JSON takes it; trackers are told what it was."""
    kept = Kept()
    recorder = Recorder(tmp_path / "metrics.jsonl", True, (kept,))
    recorder.log(1, "validation", {"loss": float("nan"), "bits": float("inf"), "accuracy": 0.5})
    recorder.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail) == {
        "step": 1, "kind": "validation", "loss": None, "bits": None, "accuracy": 0.5,
    }  # fmt: skip
    assert kept.seen[0][1]["validation/bits"] == float("inf")
