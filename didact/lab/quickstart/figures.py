"""The report's figures, drawn without a display: SVG documents."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRETRAINED, START, SCRATCH, FLOOR, GREY = "#1f6feb", "#7fb2f5", "#d1741f", "#7a8087", "#c9ced4"
COLORS = {"pretrained": PRETRAINED, "start": START, "scratch": SCRATCH}
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a9097",
    "axes.labelcolor": "#3b4148",
    "xtick.color": "#3b4148",
    "ytick.color": "#3b4148",
    "axes.grid": True,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.7,
    "svg.fonttype": "path",
    "svg.hashsalt": "didact",
}

ABOVE: dict[str, Any] = {
    "loc": "lower left", "bbox_to_anchor": (0, 1), "fontsize": 8, "title_fontsize": 9, "alignment": "left",
    "frameon": False, "borderpad": 0, "columnspacing": 1.0, "handletextpad": 0.2,
}  # fmt: skip
"""a legend over its panel"""


def comparison(found: Sequence[Mapping[str, Any]], arms: Mapping[str, str]) -> str:
    """A panel a task: each seed, the mean with its interval, every floor; and on the right all paired differences.

    arms: what each is called.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        several = len(arms) > 2  # the legends take two lines then
        figure = _figure(10.4, 0.75 + 0.3 * several + 0.95 * len(found))
        left, right = figure.subplots(1, 2, width_ratios=[1.45, 1.0])
        names = [f"{c['task']}\n{c['metric']}" for c in found]
        for place, c in enumerate(found):
            for name, floor in c["floors"].items():
                left.plot([floor["value"]] * 2, [place - 0.33, place + 0.33], color=FLOOR, linewidth=1.2, alpha=0.9)
                if name == c["best_floor"]:
                    where = (floor["value"], place - 0.36)
                    left.annotate(name, where, fontsize=7.5, color=FLOOR, ha="center", va="bottom")
            for number, (arm, own) in enumerate(c["arms"].items()):
                line = place - 0.14 + 0.28 * number / (len(arms) - 1)
                _dot(left, own, line, COLORS[arm])
                left.plot(own["seeds"], [line] * len(own["seeds"]), "|", color=COLORS[arm], markersize=7)
            _dot(right, c["difference"], place - 0.14, SCRATCH, scale=100)
            if c["start"] is not None:
                _dot(right, c["start"]["gained"], place, START, scale=100)
            _dot(right, c["over_floor"], place + 0.14, FLOOR, scale=100)
        left.set_xlim(0, 1)
        left.set_xlabel("score on the test set, 95 % interval, seeds")
        right.axvline(0, color="#3b4148", linewidth=1)
        right.set_xlabel("points, paired, 95 % interval")
        others = [(SCRATCH, arms["scratch"])] + ([(START, arms["start"])] if "start" in arms else [])
        others.append((FLOOR, "the best trivial method"))
        handles = [right.plot([], [], "o", color=color, label=label)[0] for color, label in others]
        right.legend(handles=handles, title=f"{arms['pretrained']} less …", ncols=2, **ABOVE)
        for axes in (left, right):
            axes.set_yticks(range(len(found)), names if axes is left else [""] * len(found))
            axes.set_ylim(len(found) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
        handles = [left.plot([], [], "o", color=COLORS[arm], label=title)[0] for arm, title in arms.items()]
        handles.append(left.plot([], [], "-", color=FLOOR, label="trivial methods")[0])
        left.legend(handles=handles, title="score of …", ncols=2 if several else 3, **ABOVE)
        return _svg(figure)


def curves(pretrain: Mapping[str, Any], unigram: float, before: Mapping[str, float]) -> str:
    """Masked-language-model loss against real tokens, with the entropy of counted words; and the pair's accuracy.

    before: figures of the weights that it began with.
    """
    from matplotlib import rc_context

    train, held = pretrain["train_curves"], pretrain["validation_curves"]
    pair = next((name for name in ("accuracy/nsp", "accuracy/sop") if name in train), None)
    with rc_context(STYLE):
        figure = _figure(10.4, 3.3)
        panels = list(figure.subplots(1, 2 if pair else 1, squeeze=False).flat)
        loss = panels[0]
        _line(loss, train.get("loss/mlm", ()), GREY, 0.8, "training")
        _line(loss, smooth(train.get("loss/mlm", ())), PRETRAINED, 1.8, "training, smoothed")
        begun = [(0.0, before["mlm@15/loss"])] if "mlm@15/loss" in before else []
        held_out = [*begun, *held.get("mlm@15/loss", ())]
        _line(loss, held_out, "#0b3d91", 0.0, "validation, 15 % hidden", marker="o")
        loss.set_title("hidden words: loss, nats a token", fontsize=9, loc="left")
        if math.isfinite(unigram):
            counted = f"words counted alone: {unigram:.2f}"
            loss.axhline(unigram, color=FLOOR, linestyle="--", linewidth=1.1, label=counted)
            low = min([unigram, *(y for points in (train.get("loss/mlm", ()), held_out) for _, y in points)])
            loss.set_ylim(max(0.0, low - 0.25), unigram + 0.9)
        loss.legend(frameon=False, fontsize=8)
        if pair:
            _line(panels[1], train[pair], GREY, 0.8, "training")
            _line(panels[1], smooth(train[pair]), SCRATCH, 1.8, "training, smoothed")
            _line(
                panels[1], held.get(pair.partition("/")[2] + "/accuracy", ()), "#7a3f0b", 0.0, "validation", marker="o"
            )
            panels[1].axhline(0.5, color=FLOOR, linestyle="--", linewidth=1.1, label="a coin")
            panels[1].set_title("does the second text follow the first? accuracy", fontsize=9, loc="left")
            panels[1].legend(frameon=False, fontsize=8)
        for axes in panels:
            axes.set_xlabel("million tokens read")
        return _svg(figure)


def times(stages: Sequence[Mapping[str, Any]]) -> str:
    """Where the time went."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = _figure(10.4, 0.5 + 0.33 * len(stages))
        axes = figure.subplots()
        minutes = [stage["seconds"] / 60 for stage in stages]
        bars = axes.barh(range(len(stages)), minutes, color=PRETRAINED, height=0.62)
        axes.bar_label(bars, [f"{m:.1f} min" for m in minutes], padding=4, fontsize=8.5)
        axes.set_yticks(range(len(stages)), [stage["name"] for stage in stages])
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("minutes")
        return _svg(figure)


def smooth(points: Sequence[Sequence[float]], share: float = 0.04) -> list[tuple[float, float]]:
    """A running mean over the last `share` of the points."""
    width = max(1, round(share * len(points)))
    made = []
    for i in range(len(points)):
        window = points[max(0, i + 1 - width) : i + 1]
        made.append((points[i][0], sum(p[1] for p in window) / len(window)))
    return made


def _dot(axes: Axes, told: Mapping[str, float], place: float, color: str, scale: float = 1.0) -> None:
    value, low, high = (scale * told[key] for key in ("value", "low", "high"))
    axes.errorbar([value], [place], xerr=[[max(0.0, value - low)], [max(0.0, high - value)]], fmt="o", color=color,
                  markersize=5, capsize=2.5, linewidth=1.6)  # fmt: skip


def _line(
    axes: Axes, points: Sequence[Sequence[float]], color: str, width: float, label: str, marker: str = ""
) -> None:
    if points:
        x, y = [p[0] / 1e6 for p in points], [p[1] for p in points]
        axes.plot(x, y, color=color, linewidth=width, label=label, marker=marker, markersize=4)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    """The drawing, without what would change from run to run."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return stream.getvalue()
