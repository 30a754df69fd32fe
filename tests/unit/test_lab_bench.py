"""The side-by-side harness: its arithmetic, and every benchmark at a size at which its times mean nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from didact.errors import InputError
from didact.lab import bench
from didact.lab.bench import machine, material, peer, report
from didact.lab.bench.causal import CausalStep
from didact.lab.bench.measure import Benchmark, Case, Contender, Spread, equal_start, take_turns
from didact.lab.bench.sides import StepBenchmark
from didact.lab.bench.step import TrainingStep
from didact.lab.bench.suite import BENCHMARKS, chosen


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def contender(name: str, clock: Clock, order: list[str], seconds: Callable[[int], float], units: float) -> Contender:
    def work(turn: int) -> float:
        order.append(f"{name}{turn}")
        clock.now += seconds(turn)
        return units

    return Contender(name, lambda: work)


def test_turns_and_ratios() -> None:
    clock, order = Clock(), list[str]()
    ours = contender("a", clock, order, lambda turn: 100.0 if turn < 0 else 1.0, 10)
    theirs = contender("b", clock, order, lambda turn: [2.0, 4.0, 3.0][turn], 10)
    done = take_turns(Case("x", "y", "tokens", (ours, theirs)), 3, clock)
    assert order == ["a-1", "b-1", "a0", "b0", "a1", "b1", "a2", "b2"]
    assert done.timings["a"].first == 100.0
    assert done.timings["a"].rate == Spread(10, 10, 10)
    assert done.timings["b"].time == Spread(3, 2, 4)
    assert done.ratio("b") == Spread(3, 2, 4)


def test_a_table_and_a_record() -> None:
    clock = Clock()
    sides = tuple(contender(n, clock, [], lambda _, s=s: s, 1000) for n, s in (("a", 0.5), ("b", 1.0)))
    done = take_turns(Case("x", "y", "tokens", sides, {"batch": 3}), 2, clock)
    rows = report.rows(done)
    assert rows[0][:2] == ["x: y", "tokens/s"]
    assert rows[2][1:4] == ["1,000 (1,000 – 1,000)", "1", "2.00 x (2.00 – 2.00)"]
    line = json.loads(json.dumps(report.record(done, machine.describe())))
    assert report.markdown([line]).splitlines()[2:] == [
        "| x: y | a | 2,000 tokens/s (2,000 – 2,000) |  |",
        "| | b | 1,000 tokens/s (1,000 – 1,000) | 2.00 x (2.00 – 2.00) |".replace("| |", "|  |"),
    ]
    assert (line["seconds"]["b"], line["ratio"]["b"]["median"], line["settings"]) == ([1.0, 1.0], 2.0, {"batch": 3})


@pytest.mark.parametrize(
    ("value", "shown"), [(12345.6, "12,300"), (4.5678, "4.57"), (0.01234, "0.0123"), (999.9, "1,000")]
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert report.number_of(value) == shown


def test_sides_must_start_equal() -> None:
    assert equal_start(2.0, 2.00001) == pytest.approx(5e-6, rel=1e-2)
    for theirs in (2.1, float("nan")):
        with pytest.raises(RuntimeError, match="do not start equal"):
            equal_start(2.0, theirs)


def test_unknown_names_and_missing_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no benchmark spets; expected some of step, rtd, causal, permuted, denoise"):
        bench.run(["spets"])
    with pytest.raises(InputError, match="precision 'int8'; expected one of fp32, bf16, fp16"):
        chosen([], precision="int8")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="pip install transformers"):
        peer.transformers()


def test_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "texts.tsv"
    path.write_text("sentence\tlabel\none two\t1\n\nthree\t0\n")
    assert material.texts(path, 2) == ["one two", "three"]
    with pytest.raises(InputError, match="2 texts; expected at least 3"):
        material.texts(path, 3)
    monkeypatch.setattr(material, "_installed", lambda: iter(["a", "b", "c"]))
    assert material.texts(None, 2) == ["a", "b"]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join("a sentence of some words " + "and more " * (i % 7) for i in range(60)))
    return path


def test_one_precision_of_several() -> None:
    for benchmark in chosen([], precision="bf16"):
        assert getattr(benchmark, "precisions", ("bf16",)) == ("bf16",)


@pytest.mark.parametrize("name", [benchmark.name for benchmark in BENCHMARKS])
@pytest.mark.slow
def test_every_benchmark_runs(name: str, sentences: Path) -> None:
    (benchmark,) = chosen([name], small=True, texts=sentences)
    outcomes = list(benchmark.outcomes(2))
    assert outcomes
    for outcome in outcomes:
        units = [timing.units for timing in outcome.timings.values()]
        assert all(u == units[0] for u in units), "every side does the same work"
        assert outcome.case.settings.get("equal_start", 0.0) < 1e-4
        assert outcome.facts.get("largest_difference", 0.0) < 1e-4


class Named(Benchmark):
    name = "named"

    def outcomes(self, repeats: int) -> Iterator:
        clock = Clock()
        sides = tuple(contender(n, clock, [], lambda _: 1.0, 1) for n in "ab")
        yield take_turns(Case("named", "case", "things", sides), repeats, clock)

    def small(self) -> Named:
        return self


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("didact.lab.bench.suite.BENCHMARKS", (Named(),))
    bench.run((), 2, tmp_path / "out.jsonl")
    bench.run(["named"], 3, tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [len(line["seconds"]["a"]) for line in lines] == [2, 3]
    assert lines[0]["machine"]["torch"]
    shown = capsys.readouterr().out
    assert "named: case" in shown
    assert "1.00 x (1.00 – 1.00)" in shown


def test_the_causal_step_is_of_the_same_size() -> None:
    causal, step = CausalStep(), TrainingStep()
    sizes = [(c.layers, c.width, c.heads, c.feedforward, c.vocabulary) for c in (causal.config, step.config)]
    assert sizes[0] == sizes[1]
    assert (causal.sequences, causal.longest, causal.steps) == (step.sequences, step.longest, step.steps)
    assert causal.config.visibility == "causal"


def test_the_step_is_the_stated_one() -> None:
    step = TrainingStep()
    c = step.config
    assert (c.layers, c.width, c.heads, c.feedforward, c.vocabulary) == (4, 256, 4, 1024, 30522)
    assert (step.sequences, step.longest) == (32, 128)
    assert set(material.lengths("full", 5, 0)) == {128}
    mixed = material.lengths("mixed", 2000, 0)
    assert (min(mixed), max(mixed)) == (16, 128)


STEPS = [b for b in BENCHMARKS if isinstance(b, StepBenchmark)]


@pytest.mark.parametrize("benchmark", STEPS, ids=lambda b: b.name)
def test_on_a_gpu_it_is_a_step_of_berts_own_size(benchmark: StepBenchmark) -> None:
    assert benchmark.on("cpu") is benchmark
    there = benchmark.on("cuda")
    c = there.config
    assert (c.layers, c.width, c.heads, c.feedforward) == (12, 768, 12, 3072)
    assert (there.sequences, there.longest, there.device) == (64, 512, "cuda")
    assert (c.visibility, c.vocabulary) == (benchmark.config.visibility, benchmark.config.vocabulary)


def test_both_sides_are_told_the_device() -> None:
    assert not peer.Recipe().beforehand
    assert peer.Recipe(device="cuda").beforehand, "loaders make batches beside a GPU"
    assert [b.name for b in chosen([], device="cuda")] == [b.name for b in STEPS]
    with pytest.raises(InputError, match="no benchmark store on cuda; expected some of step, rtd"):
        chosen(["store"], device="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no CUDA device here"):
        bench.run(["step"], device="cuda")


def test_a_turn_lasts_until_the_device_is_done() -> None:
    clock = Clock()

    def wait() -> None:
        clock.now += 2.0

    sides = tuple(contender(n, clock, [], lambda _: 1.0, 6) for n in "ab")
    done = take_turns(Case("x", "y", "tokens", sides), 2, clock, wait)
    assert [t.time.median for t in done.timings.values()] == [3.0, 3.0]
    assert done.timings["a"].first == 3.0
