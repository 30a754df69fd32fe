"""A grid's figures: every arm with its interval, and the pre-training curves. PNG bytes, drawn without a display."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from didact.lab.cells import PRETRAIN
from didact.lab.findings import Findings
from didact.lab.verdict import best_floor
from didact.training.record import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def forest(f: Findings) -> bytes | None:
    """A panel for each pre-training loss that arms share and each task's main score: every arm with its interval, the
    best trivial method as a broken line. None without any.
    """
    arms = list(f.grid.arms)
    main = {stage: (stage, split, metric) for stage, split, metric in reversed(f.keys) if stage != PRETRAIN}
    shared = {key for key in _losses(f) if len(f.of(key)) >= min(2, len(arms))}
    keys = [key for key in f.keys if key in shared or main.get(key[0]) == key]
    if not keys:
        return None
    figure, panels = _panels(len(keys), 0.9 + 0.32 * len(arms))
    for key, axes in zip(keys, panels, strict=True):
        found = f.of(key)
        for place, arm in enumerate(arms):
            if arm in found and not math.isnan(found[arm].value.value):
                value = found[arm].value
                sure = not math.isnan(value.low)
                reach = [[max(0.0, value.value - value.low)], [max(0.0, value.high - value.value)]] if sure else None
                axes.errorbar([value.value], [place], xerr=reach, fmt="o", capsize=3, color=f"C{place % 10}")
        if best := best_floor(f.floors_of(key), next(iter(found.values())).higher):
            axes.axvline(best[1], linestyle="--", linewidth=1, color="0.5")
        axes.set_yticks(range(len(arms)), [_called(f, key, arm) for arm in arms], fontsize=8)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_title(f"{key[0]}: {key[2]}", fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(axis="x", linewidth=0.3)
    return _png(figure)


def _called(f: Findings, key: tuple[str, str, str], arm: str) -> str:
    """An arm, and of what else the figure is where it is no comparison ("its generator")."""
    found = f.of(key).get(arm)
    return f"{arm}, {found.elsewhere}" if found is not None and found.elsewhere else arm


def curves(f: Findings) -> bytes | None:
    """Validation losses of the pre-training runs against real tokens, a panel for each, a colour an arm: losses of
    different questions are no comparison. None where none was kept.
    """
    arms = list(f.grid.arms)
    names = [metric for _, _, metric in _losses(f)] or ["loss"]
    drawn: dict[str, list[tuple[str, list[float], list[float]]]] = {}
    for name in names:
        for cell in f.carried.cells:
            x, y = validation_curve(cell.folder / "metrics.jsonl", name)
            if x:
                drawn.setdefault(name, []).append((cell.arm, x, y))
    if not drawn:
        return None
    figure, panels = _panels(len(drawn), 3.2)
    for (name, lines), axes in zip(drawn.items(), panels, strict=True):
        named: set[str] = set()
        for arm, x, y in lines:
            label = None if arm in named else _called(f, (PRETRAIN, "validation", name), arm)
            axes.plot(x, y, marker=".", linewidth=1, color=f"C{arms.index(arm) % 10}", label=label)
            named.add(arm)
        axes.set_xlabel("real tokens", fontsize=9)
        axes.set_ylabel(f"{name}, nats", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(linewidth=0.3)
        axes.legend(fontsize=8)
    return _png(figure)


def _losses(f: Findings) -> list[tuple[str, str, str]]:
    return [key for key in f.keys if key[0] == PRETRAIN and key[2].endswith("loss")]


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most three beside each other, each `height` inches high."""
    from matplotlib.figure import Figure

    columns = min(3, count)
    lines = math.ceil(count / columns)
    figure = Figure(figsize=(4.2 * columns, height * lines), layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def validation_curve(file: Path, name: str) -> tuple[list[float], list[float]]:
    """(tokens, figure) of a run's validations, those where it is undefined left out; the tokens are those of the last
    line before each.
    """
    x: list[float] = []
    y: list[float] = []
    tokens = 0.0
    for event in read_metrics(file):
        tokens = float(event.get("tokens", tokens))
        value = event.get(name)
        if event.get("kind") == "validation" and value is not None and math.isfinite(value):
            x.append(tokens)
            y.append(float(value))
    return x, y


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    return stream.getvalue()
