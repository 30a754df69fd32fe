"""The benchmarks, one file each, named in one tuple."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from didact.errors import InputError
from didact.lab.bench.causal import CausalStep
from didact.lab.bench.denoise import DenoisingStep
from didact.lab.bench.finetune import Finetuning
from didact.lab.bench.generation import Generation
from didact.lab.bench.inference import Inference
from didact.lab.bench.masking import Masking
from didact.lab.bench.measure import Benchmark
from didact.lab.bench.permuted import PermutedStep
from didact.lab.bench.replaced import Detection
from didact.lab.bench.sides import StepBenchmark
from didact.lab.bench.step import TrainingStep
from didact.lab.bench.storing import Storing
from didact.training.policy import DTYPES

BENCHMARKS: tuple[Benchmark, ...] = (
    TrainingStep(),
    Detection(),
    CausalStep(),
    PermutedStep(),
    DenoisingStep(),
    Finetuning(),
    Inference(),
    Generation(),
    Masking(),
    Storing(),
)


def chosen(
    names: Sequence[str],
    small: bool = False,
    texts: Path | None = None,
    device: str = "cpu",
    precision: str | None = None,
) -> list[Benchmark]:
    """The named ones, all if none is named; on a GPU those of training steps. precision: of both sides, where a
    benchmark can be run in several, None = all that the device has units for. InputError for a name or a precision that
    is none.
    """
    if precision not in (None, *DTYPES):
        raise InputError(f"precision {precision!r}", expected=f"one of {', '.join(DTYPES)}")
    known = {b.name: b for b in BENCHMARKS}
    if device != "cpu":
        known = {b.name: b.on(device) for b in BENCHMARKS if isinstance(b, StepBenchmark)}
    if unknown := [name for name in names if name not in known]:
        where = "" if device == "cpu" else f" on {device}"
        raise InputError(f"no benchmark {', '.join(unknown)}{where}", expected=f"some of {', '.join(known)}")
    found = [known[name] for name in names or known]
    if texts is not None:
        found = [replace(b, texts=texts) if isinstance(b, Finetuning | Inference | Storing) else b for b in found]
    if precision is not None:
        several = (StepBenchmark, Finetuning, Inference, Generation)
        found = [replace(b, precisions=(precision,)) if isinstance(b, several) else b for b in found]
    return [benchmark.small() for benchmark in found] if small else found
