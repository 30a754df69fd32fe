"""The page: self-contained, escaped, everything that was found is on it."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from didact.lab.quickstart.figures import smooth
from didact.lab.quickstart.looking import BLANK
from didact.lab.quickstart.page import filled, render


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "level": 0.95}


def results() -> dict[str, Any]:
    """What `results.collect` returns, made up."""
    arm = {
        "seeds": [0.5, 0.6, 0.7], "rate": 0.001, "rates": {"0.001": 0.5, "0.003": 0.4}, "steps": 120, "tokens": 1000,
        "seconds": 10.0,
    }  # fmt: skip
    compared = {
        "task": "topic", "meaning": "Which <library>?", "metric": "accuracy", "train": 100, "test": 1234, "groups": 56,
        "higher": True,
        "floors": {"majority": interval(0.1), "TF-IDF + linear": interval(0.6)}, "best_floor": "TF-IDF + linear",
        "arms": {"pretrained": interval(0.7123) | arm, "scratch": interval(0.5) | arm}, "difference": interval(0.2123),
        "over_floor": interval(-0.1123), "over_floors": {"TF-IDF + linear": interval(-0.1123)}, "start": None,
    }  # fmt: skip
    counts = {split: {"records": 7, "numpy": 3, "scipy": 4} for split in ("train", "dev", "test")}
    names = ("documents", "tasks and tokenizer", "store", "pre-training", "fine-tuning and floors", "looking inside")
    return {
        "made": "2026-01-02 03:04 UTC",
        "arms": {"pretrained": "pre-trained", "scratch": "from scratch"},
        "verdicts": ["Pre-training beats it all.", "topic: <so> & so."],
        "comparison": [compared, {**compared, "task": "roles"}],
        "documents": {
            "counts": {"entries": 63775, "files": 7915, "files_failed": 1}, "characters": 35_400_000,
            "libraries": [{"name": "numpy", "version": "2.0", "entries": 12, "characters": 34}],
            "corpus": {"documents": 48058, "characters": 29_400_000}, "fingerprint": "937297e5eb814e52",
        },
        "tasks": {"topic": counts, "roles": counts},
        "examples": {
            "topic": [{"id": "a", "text": "<script>alert(1)</script>", "label": "numpy"}],
            "roles": [{"id": "b", "words": ["def", "f"], "tags": ["_", "function"]}],
        },
        "store": {"tokens": 8_426_590},
        "pretrain": {
            "steps": 1661, "tokens": 3_400_000, "seconds": 300.0, "flops": 1e13,
            "validation": {"mlm@15/loss": 3.7756, "nsp/accuracy": 0.74},
            "train_curves": {
                "loss/mlm": [(1e5 * i, 6.0 - 0.1 * i) for i in range(30)],
                "accuracy/nsp": [(1e5 * i, 0.5) for i in range(30)],
            },
            "validation_curves": {"mlm@15/loss": [(1e6, 5.0)], "nsp/accuracy": [(1e6, 0.6)]},
        },
        "not_filled": "",
        "filled": [
            {"text": f"The {BLANK} of it.", "truth": "end", "top": [{"token": "end", "probability": 0.5}]},
            {"text": f"<b>{BLANK}", "truth": "", "top": [{"token": "x", "probability": 0.25}]},
        ],
        "unigram_nats": 6.19,
        "parameters": 1_900_000,
        "vocabulary": 8192,
        "stages": [{"name": name, "seconds": 10.0, "peak_mib": 900.0, "commands": {}} for name in names],
        "seconds": 654.0,
        "peak_mib": 1843.2,
        "environment": {"Python": "3.11", "processor": "one <that> counts"},
        "plan": "validation: 0.02\n",
    }  # fmt: skip


@pytest.fixture(scope="module")
def page() -> str:
    return render(results())


def test_nothing_is_fetched(page: str) -> None:
    places = re.findall(r"""(?:src|href)\s*=\s*["']([^"']{0,40})|url\(([^)]{0,40})""", page)
    assert places
    assert all(any(place.startswith("data:") for place in both) for both in places)
    assert "<script" not in page


def test_texts_of_others_are_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(1)" in page or "\\u003cscript\\u003ealert(1)" in page
    assert "topic: &lt;so&gt; &amp; so." in page
    assert "one &lt;that&gt; counts" in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize(
    "told",
    [
        "Pre-training beats it all.",
        "0.712",
        "+21.2",
        "-11.2",
        "TF-IDF + linear",
        "1,234",
        "56 subtrees",
        "6.19",
        "3,400,000",
        "11,333",
        "8,192 word pieces",
        "100 tokens/s a run",
        "792 files/s",
        "10.9 min",
        "1,843",
        "937297e5eb814e52",
        "numpy 2.0 (12)",
        "f/function",
        "validation: 0.02",
        "0.001: 0.500, 0.003: 0.400",
    ],
)
def test_what_was_found_is_on_it(page: str, told: str) -> None:
    assert told in page


def test_the_figures_are_drawings_and_the_same_each_time(page: str) -> None:
    images = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    assert len(images) == 3
    for image in images:
        assert ET.fromstring(base64.b64decode(image)).tag.endswith("svg")
    assert render(results()) == page


def test_a_blank_with_its_guesses() -> None:
    hit, unasked = (filled(f) for f in results()["filled"])
    assert (hit["before"], hit["after"], hit["rank"]) == ("The ", " of it.", 1)
    assert (unasked["truth"], unasked["rank"]) == ("", None)


def test_smooth_is_a_running_mean_of_what_came_before() -> None:
    points = [(float(i), float(i * i)) for i in range(50)]  # a window of two
    made = smooth(points)
    assert made[0] == (0.0, 0.0)
    assert made[10] == (10.0, (81 + 100) / 2)
    assert smooth([]) == []


def test_what_it_began_as_stands_between() -> None:
    found = results()
    found["arms"] = {"pretrained": "small, adapted", "start": "small as it comes", "scratch": "from scratch"}
    for c in found["comparison"]:
        first, last = c["arms"].values()
        c["arms"] = {"pretrained": first, "start": last | interval(0.6543), "scratch": last}
        c["start"] = {"over_scratch": interval(0.1543), "gained": interval(0.0583)}
    found["before"] = {"mlm@15/loss": 4.9876, "mlm@15/bits_per_byte": 1.5}
    page = render(found)
    assert all(said in page for said in ("small, adapted", "small as it comes", "0.654", "+5.8", "over the start"))
    assert "At its beginning: mlm@15/loss 4.988." in page
    assert "At its beginning" not in render(results())
    assert "over the start" not in render(results())


def test_an_interval_that_is_none_is_left_open() -> None:
    """As of a test of one subtree."""
    found = results()
    for told in (found["comparison"][0]["difference"], found["comparison"][0]["arms"]["pretrained"]):
        told |= {"low": math.nan, "high": math.nan}
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", render(found))
    assert '<td class="num ">+21.2<br>\n<span class="soft">? to ?</span>' in text
    assert '0.712<br><span class="soft">? – ?</span>' in text
    assert not re.search(r"\bnan\b", text)


def test_without_a_pair_and_without_validation_it_is_drawn_too() -> None:
    found = results()
    found["pretrain"] |= {"train_curves": {"loss/mlm": [(0, 6.0)]}, "validation_curves": {}, "validation": {}}
    assert "Pre-training" in render(found)


def test_one_seed_colours_no_difference(page: str) -> None:
    found = results()
    for c in found["comparison"]:
        for own in c["arms"].values():
            own["seeds"] = [0.5]
    coloured = re.compile(r'class="num (up|down)"')
    assert coloured.findall(page) == ["up", "down"] * 2
    assert not coloured.search(render(found))
