"""`make bench`: what `didact bench` does, with the results added to benchmarks/results.jsonl.

    python -m benchmarks [NAME …] [--repeats N] [--texts FILE] [--out FILE] [--device cuda]
                         [--precision P] [--small]
    python -m benchmarks --table          what stands in the results file, as Markdown

Real texts are the SST-2 training sentences where the folder of real data lies beside the repository, else the installed
packages' documentation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SST2 = ROOT.parent / "shared" / "data" / "classify" / "sst2" / "train.tsv"


def main() -> None:
    from didact.training.environment import prepare_environment

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="step, rtd, causal, permuted, denoise, finetune, inference, generation, masking, store; all if none",
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds, in each of which every side works once")
    parser.add_argument("--texts", type=Path, default=SST2 if SST2.is_file() else None, help="one text a line")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.jsonl"))
    parser.add_argument("--threads", type=int, help="of each side; as many as there are cores if absent")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: steps of BERT-base's size")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), help="of both sides; each that the device has if absent"
    )
    parser.add_argument("--small", action="store_true", help="at sizes at which the times mean nothing")
    parser.add_argument("--table", action="store_true", help="show the results file as Markdown, measure nothing")
    given = parser.parse_args()
    if given.table:
        from didact.lab.bench.report import markdown

        print(markdown([json.loads(line) for line in given.out.read_text(encoding="utf-8").splitlines()]))
        return
    prepare_environment(given.threads)  # before torch is there: it reads how its threads are to wait

    from didact.errors import InputError
    from didact.lab import bench

    try:
        out = None if given.small else given.out
        bench.run(given.names, given.repeats, out, given.small, given.texts, given.device, given.precision)
    except InputError as problem:
        print(f"benchmarks: {problem}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
