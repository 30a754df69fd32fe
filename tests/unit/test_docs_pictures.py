"""The pictures show the rule, against patterns written by hand; every objective says what the families' table reads."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

from didact.objectives import OBJECTIVES, Combined

DOCS = Path(__file__).resolve().parents[2] / "docs"
DRAWING = runpy.run_path(str(DOCS / "made" / "pictures.py"))
PICTURES = DRAWING["PICTURES"]

DRAWN = {
    "bidirectional": ["xxxxxx"] * 6,
    "causal": ["x.....", "xx....", "xxx...", "xxxx..", "xxxxx.", "xxxxxx"],
    "right to left": ["xxxxxx", ".xxxxx", "..xxxx", "...xxx", "....xx", ".....x"],
    "prefix": ["xxx...", "xxx...", "xxx...", "xxxx..", "xxxxx.", "xxxxxx"],
    "window": ["xx....", "xxx...", ".xxx..", "..xxx.", "...xxx", "....xx"],
    "causal window": ["x.....", "xx....", "xxx...", ".xxx..", "..xxx.", "...xxx"],
    # in the order 1 3 0 5 2 4
    "permutation": [
        *["xx.x........", ".x..........", "xxxx.x......", ".x.x........", "xxxxxx......", "xx.x.x......"],
        *[".x.x........", "............", "xx.x.x......", ".x..........", "xxxx.x......", "xx.x........"],
    ],
    "memory": ["xxx...", "xxxx..", "xxxxx.", "xxxxxx"],
    "separate sequences": ["xx....", "xx....", "..xxxx", "..xxxx", "..xxxx", "..xxxx"],
}


def test_every_picture_is_here() -> None:
    assert set(PICTURES) == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_the_rule(name: str) -> None:
    svg = ElementTree.fromstring(DRAWING["picture"](name))
    space = "{http://www.w3.org/2000/svg}"
    cells = [
        (int(rect.attrib["y"]), int(rect.attrib["x"]), rect.attrib["fill"] == DRAWING["SEEN"])
        for rect in svg.iter(f"{space}rect")
    ]
    rows: dict[int, str] = {}
    for y, _, seen in sorted(cells):
        rows[y] = rows.get(y, "") + ("x" if seen else ".")
    assert list(rows.values()) == DRAWN[name]
    texts = [text.text for text in svg.iter(f"{space}text")]
    assert len(texts) == 1 + len(DRAWN[name][0]) + len(DRAWN[name])


@pytest.mark.parametrize("cls", [cls for cls in OBJECTIVES if cls is not Combined], ids=lambda c: c.kind)
def test_every_objective_says_what_is_hidden_and_asked(cls: type) -> None:
    hidden, asked = runpy.run_path(str(DOCS / "generate.py"))["hidden_and_asked"](cls)
    assert len(hidden) > 3
    assert len(asked) > 8
