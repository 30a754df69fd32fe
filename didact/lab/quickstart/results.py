"""Everything the report says, gathered from the folder into OUT/results.json; the page is made of that alone."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from didact.data.store import write_aside
from didact.lab.quickstart.compare import compare, verdicts
from didact.lab.quickstart.plan import Plan
from didact.training.record import read_metrics

PACKAGES = ("torch", "numpy", "tokenizers", "scikit-learn")
EXAMPLES = 2  # of each task, shown


def collect(plan: Plan, out: Path, took: Mapping[str, Any]) -> dict[str, Any]:
    """took: of each stage, seconds and peak_mib (`stages.carry_out`)."""
    comparison = compare(plan, out)
    found = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "verdicts": verdicts(comparison),
        "arms": plan.arms,
        "transferred": plan.start is not None and plan.made is not None,
        "comparison": comparison,
        "documents": _json(out / "documents.json"),
        "tasks": _json(out / "tasks" / "counts.json"),
        "examples": {name: _first(out / "tasks" / name / "test.jsonl") for name in plan.tasks},
        "store": {key: value for key, value in _json(out / "store" / "store.json").items() if isinstance(value, int)},
        "pretrain": pretraining(out / "pretrain"),
        **_json(out / "looking.json"),
        "stages": [{"name": name, **own} for name, own in took.items()],
        "seconds": sum(own["seconds"] for own in took.values()),
        "peak_mib": max(own["peak_mib"] for own in took.values()),
        "environment": environment(out),
        "plan": (out / "plan.yaml").read_text(encoding="utf-8"),
    }
    write_aside(out / "results.json", json.dumps(found, indent=1, ensure_ascii=False))
    return found


def pretraining(run: Path) -> dict[str, Any]:
    """Totals, and the curves: (tokens, value) of each loss and accuracy while training, and of each validation."""
    train: dict[str, list[tuple[float, float]]] = {}
    validation: dict[str, list[tuple[float, float]]] = {}
    tokens = 0.0
    for event in read_metrics(run / "metrics.jsonl"):
        tokens = float(event.get("tokens", tokens))
        curves = {"train": train, "validation": validation}.get(event.get("kind", ""))
        for name, value in event.items() if curves is not None else ():
            if name.partition("/")[0] != name and isinstance(value, int | float):
                assert curves is not None
                curves.setdefault(name, []).append((tokens, float(value)))
    result = _json(run / "result.json")
    kept = {key: result[key] for key in ("steps", "tokens", "seconds", "flops", "validation")}
    return kept | {"train_curves": train, "validation_curves": validation}


def environment(out: Path) -> dict[str, str]:
    """What it ran on."""
    logs = out / "logs" / "pretrain.log"
    lines = logs.read_text(encoding="utf-8", errors="replace").splitlines() if logs.is_file() else []
    from didact.training.environment import cores

    found = {
        "Python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "didact": _version("didact"),
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores used": str(cores()),
        "memory": _memory(),
    }
    how = next((line.strip() for line in lines if "compiled" in line), None)
    return found | ({"how": how} if how else {})


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> str:
    if sys.platform == "win32":
        return "unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.1f} GiB"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def _first(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:EXAMPLES] if line]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
