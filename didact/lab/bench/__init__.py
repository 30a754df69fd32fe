"""`didact bench`: side by side with the installed peers, in one run, on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(
    names: Sequence[str] = (),
    repeats: int = 5,
    out: Path | None = None,
    small: bool = False,
    texts: Path | None = None,
    device: str = "cpu",
    precision: str | None = None,
) -> None:
    """Measure the named benchmarks (all if none) and show a table as each is done.

    out: a file of JSON lines to add the results to; small: at sizes at which the times mean nothing, to see that it
    runs; texts: a file of real texts, one a line, in place of the installed packages' documentation; device: "cpu", or
    "cuda": training steps of BERT-base's size on both sides; precision: of both sides, None = each that the device has
    units for. Raises InputError for a name or a precision that is none, a device that is not there, and where a peer is
    not installed.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from didact.lab.bench import machine, peer, report
    from didact.lab.bench.suite import chosen
    from didact.training.policy import pick_device

    benchmarks = chosen(names, small, texts, pick_device(device).type, precision)
    peer.transformers()
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    console.print(machine.line(), markup=False, soft_wrap=True)
    if device == "cpu" and not machine.has_bf16():
        console.print("no bf16 unit: bf16 is emulated here, so both sides run in fp32", soft_wrap=True)
    for benchmark in benchmarks:
        table = Table(*report.COLUMNS, box=box.SIMPLE)
        notes: list[str] = []
        for outcome in benchmark.outcomes(repeats):
            for row in report.rows(outcome):
                table.add_row(*row)
            table.add_section()
            notes += outcome.notes
            if out is not None:
                report.append(report.record(outcome, machine.describe(), small), out)
        console.print(table)
        for note in notes:
            console.print(note, markup=False, soft_wrap=True)
