"""A GPT of didact's in lm-evaluation-harness (EleutherAI), beside itself exported and opened by the `hf` backend.

    python -m benchmarks.harness RUN [--data ../shared/data] [--out FOLDER]

Three local tasks, one for each kind of request: choices after five examples (SST-2's dev sentences), the last word of
a sentence (of the same), and whole texts (pages of a novel). Needs `pip install '.[harness]'`. Printed, and written to
OUT/harness.json: every figure of both, and how far the two are apart on the request where they are furthest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from didact import hub
from didact.data.files import read_text
from didact.data.store import write_aside
from didact.errors import InputError
from didact.lab.bench import machine

PAGES, PAGE = 100, 3000  # how many, and their characters
METRICS = {
    "choices": ["acc", "acc_norm"],
    "last_word": ["acc", "perplexity"],
    "pages": ["word_perplexity", "bits_per_byte"],
}
BACKENDS: dict[str, dict[str, str]] = {"didact": {}, "hf": {"dtype": "float32"}}


def write_tasks(data: Path, folder: Path) -> None:
    """The three tasks, as the harness reads them, with their records beside them."""
    sst2 = {split: _sentences(data / "classify" / "sst2" / f"{split}.tsv") for split in ("train", "dev")}
    novels = read_text(data / "corpora" / "en-novels.txt.xz")
    step = len(novels) // PAGES
    records: dict[str, Sequence[Mapping[str, Any]]] = {
        "choices": [{"text": text, "label": label} for text, label in sst2["dev"]],
        "examples": [{"text": text, "label": label} for text, label in sst2["train"][:500]],
        "last_word": [_last_word(text) for text, _ in sst2["dev"] if len(text.split()) > 5],
        "pages": [{"text": novels[at : at + PAGE]} for at in range(0, step * PAGES, step)],
    }
    for name, rows in records.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    own = {
        "choices": {
            "output_type": "multiple_choice",
            "num_fewshot": 5,
            "fewshot_split": "train",
            "doc_to_text": "Review: {{text}}\nSentiment:",
            "doc_to_choice": ["bad", "good"],
            "doc_to_target": "label",
        },
        "last_word": {"output_type": "loglikelihood", "doc_to_text": "{{text}}", "doc_to_target": " {{last}}"},
        "pages": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"},
    }
    for name, wording in own.items():
        files = {"test": str(folder / f"{name}.jsonl")}
        if name == "choices":
            files["train"] = str(folder / "examples.jsonl")
        task = {
            "task": f"own_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "test_split": "test",
            "metric_list": [{"metric": metric} for metric in METRICS[name]],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task | wording), encoding="utf-8")


def _sentences(file: Path) -> list[tuple[str, int]]:
    rows = [line.split("\t") for line in read_text(file).splitlines()[1:]]
    return [(text.strip(), int(label)) for text, label in rows]


def _last_word(text: str) -> dict[str, str]:
    words = [word for word in text.split() if any(c.isalnum() for c in word)]
    head, _, _ = text.rpartition(words[-1])
    return {"text": head.strip(), "last": words[-1]}


def measure(run: Path, tasks: Path, scratch: Path) -> dict[str, Any]:
    """{task: {metric: {"didact": …, "hf": …}, "requests": …, "apart": …}}; apart: the largest difference of two answers
    to one request, in nats."""
    import datasets
    import lm_eval
    from lm_eval.tasks import TaskManager

    from didact.evaluation import harness  # noqa: F401  (registers "didact")

    datasets.config.HF_DATASETS_CACHE = scratch / "cache"
    hub.export(hub.load(run), scratch / "exported")
    found: dict[str, Any] = {}
    for backend, arguments in BACKENDS.items():
        found[backend] = lm_eval.simple_evaluate(
            model=backend,
            model_args={"pretrained": str(run if backend == "didact" else scratch / "exported"), **arguments},
            tasks=[f"own_{name}" for name in METRICS],
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            batch_size=8,
            device="cpu",
            bootstrap_iters=0,
        )
    told: dict[str, Any] = {}
    for name, metrics in METRICS.items():
        results = {backend: result["results"][f"own_{name}"] for backend, result in found.items()}
        answers = [_answers(found[backend]["samples"][f"own_{name}"]) for backend in BACKENDS]
        told[name] = {
            **{metric: {b: results[b][f"{metric},none"] for b in BACKENDS} for metric in metrics},
            "requests": len(answers[0]),
            "apart": max(abs(a - b) for a, b in zip(*answers, strict=True)),
        }
    return told


def _answers(samples: Sequence[Mapping[str, Any]]) -> list[float]:
    """The log-likelihood of every request, in the order of its texts."""
    found = []
    for sample in sorted(samples, key=lambda one: json.dumps(one["arguments"], default=str)):
        for answer in sample["filtered_resps"]:
            found.append(float(answer if isinstance(answer, float) else answer[0]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("runs/harness"))
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "tasks"
        tasks.mkdir()
        write_tasks(given.data.resolve(), tasks)
        told = {"machine": machine.describe(), "tasks": measure(given.run, tasks, Path(folder))}
    write_aside(given.out / "harness.json", json.dumps(told, indent=1))
    for name, own in told["tasks"].items():
        for metric in METRICS[name]:
            print(f"{name} {metric}: didact {own[metric]['didact']:.6g}, hf {own[metric]['hf']:.6g}")
        print(f"{name}: {own['requests']} requests, at most {own['apart']:.2g} nats apart")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as problem:
        sys.exit(f"benchmarks: {problem}")
