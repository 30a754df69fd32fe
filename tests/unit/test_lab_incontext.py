"""The control of in-context learning: its corpus, and the whole road at a size that only shows that it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from didact import lab
from didact.errors import InputError
from didact.lab import incontext
from didact.lab.incontext import PLAN, Plan
from didact.lab.incontext.maps import Maps
from didact.runs import runfile

MAPS = Maps(keys=30, values=8, held=2, sizes=(1, 3), pairs=12)


def pairs(text: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in (line.split() for line in text.splitlines())]


def test_a_document_is_one_map_and_never_a_held_out_pair() -> None:
    held = MAPS.held_out()
    assert held.sum(1).tolist() == [2] * 30
    values: dict[str, set[str]] = {}
    sizes = set()
    for text in MAPS.documents(300):
        own = pairs(text)
        assert len(own) == 12
        assert len(dict(own)) == len(set(own)), "a key has one value in a document"
        sizes.add(len(set(own)))
        for key, value in set(own):
            assert not held[int(key[1:]), int(value[1:])]
            values.setdefault(key, set()).add(value)
    assert sizes <= {1, 2, 3}
    assert np.mean([len(own) for own in values.values()]) > 5, "over documents a key has most of the other six"
    assert list(MAPS.documents(3)) == list(MAPS.documents(9))[:3]


@pytest.mark.parametrize("held", [False, True])
def test_questions_are_of_fresh_maps(held: bool) -> None:
    rows = list(MAPS.records(20, 3, 2, held))
    assert len({row["id"] for row in rows}) == len(rows) == 20 * 3 * 2
    assert {bool(MAPS.held_out()[int(row["key"][1:]), int(row["value"][1:])]) for row in rows} == {held}
    asked = {frozenset((r["key"], r["value"]) for r in rows if r["map"] == str(m)) for m in range(20)}
    assert all(len(own) == 3 for own in asked)
    assert not asked & {frozenset(pairs(text)) for text in MAPS.documents(300)}


def test_the_whole_road(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = yaml.safe_load(PLAN.read_text())
    values |= {"documents": 60, "questions": {"maps": 3, "size": 2, "rounds": 3}, "shots": [0, 2], "seeds": [0, 1]}
    values["maps"] = {"keys": 30, "values": 8, "held": 2, "sizes": [1, 3], "pairs": 12}
    values["pretrain"] |= {"budget": {"steps": 3}, "quiet": True, "hardware": {"compile": "off"}}
    values["pretrain"]["model"] |= {"width": 16, "heads": 2, "feedforward": 32}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
    file = incontext.run(tmp_path / "out", tmp_path / "plan.yaml")
    result = json.loads(file.read_text())
    for kind in ("fresh", "held_out"):
        none, two = result[kind]
        assert (none["shots"], none["questions"], none["shown"], none["answered"]) == (0, 6, 0.0, None)
        assert (two["shots"], two["questions"]) == (2, 12)
        lines = [json.loads(line) for line in (tmp_path / "out" / kind / "predictions.jsonl").read_text().splitlines()]
        own = [line for line in lines if line["shots"] == 2]
        key = lambda id: id.split(".")[2]  # noqa: E731
        seen = [any(key(d) == key(line["id"]) for d in line["demonstrations"]) for line in own]
        assert two["shown"] == pytest.approx(np.mean(seen))
        right = [line["label"] == line["gold"] for line, known in zip(own, seen, strict=True) if known]
        assert two["answered"] == pytest.approx(np.mean(right))
        assert all(line["id"] not in line["demonstrations"] for line in own)
        assert two["chance"] == pytest.approx(1 / 8)
    assert "could be known" in capsys.readouterr().out
    with pytest.raises(InputError, match="begun with another plan"):
        incontext.run(tmp_path / "out", PLAN)


@pytest.mark.parametrize(
    "wrong", [{"held": 0}, {"held": 8}, {"sizes": (1, 31)}, {"sizes": ()}, {"sizes": (0,)}], ids=str
)
def test_maps_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Maps(**({"keys": 30, "values": 8, "held": 2, "sizes": (1, 3), "pairs": 12} | wrong))


def test_it_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runfile.read(PLAN, Plan).shots[0] == 0
    monkeypatch.setattr(incontext, "run", lambda out: out / "result.json")
    assert lab.run("incontext", tmp_path) == tmp_path / "result.json"
