"""benchmarks.slices: what is kept is a matter of the records alone; splits share nothing. And the table of families."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks import family, slices


def test_what_is_kept_does_not_depend_on_the_order() -> None:
    records = [f"record {i}" for i in range(200)]
    shuffled = random.Random(0).sample([*records, *records[:50]], 250)
    parts = slices.cut(records, (30, 10, 20))
    assert slices.cut(shuffled, (30, 10, 20)) == parts
    assert [len(part) for part in parts] == [30, 10, 20]
    assert len({record for part in parts for record in part}) == 60
    assert slices.cut(records[:100] + records[150:], (30,))[0] != parts[0]


def test_pairs_are_related_as_they_say(tmp_path: Path) -> None:
    texts = [
        " ".join(f"Document {d} says its sentence number {s} to whoever reads it." for s in range(12))
        for d in range(40)
    ]
    (tmp_path / "unseen.txt").write_text("\n\n".join(texts), encoding="utf-8")
    made = slices.relations(tmp_path / "unseen.txt")
    seen: dict[str, int] = {}
    for name, splits in made.items():
        for line in (line for lines in splits.records.values() for line in lines):
            a, b, label = line.split("\t")
            seen[label] = seen.get(label, 0) + 1
            together = " ".join((b, a) if label == "swapped" else (a, b))
            assert any(together in text for text in texts) == (label != "apart"), (name, line)
    assert sorted(seen) == ["apart", "kept", "next", "swapped"]
    assert min(seen.values()) >= 0.3 * sum(seen.values()) / 4


def test_every_family_has_a_row_and_a_recipe() -> None:
    assert len(family.ROWS) == 2 * len({row.family for row in family.ROWS})
    for row in family.ROWS:
        assert (family.RECIPES / f"{family.RECIPE.get(row.family, row.family)}.yaml").is_file()
    line = {
        "row": "bert:en", "steps": 2, "tokens": 1000, "before": 8.0, "after": 7.5, "killed_at": 1,
        "resumed_same": True, "seconds": 3.0, "scores": {case: {"metric": "m", "value": 0.5} for case in family.CASES},
    }  # fmt: skip
    assert "| bert | en | 2 | 1,000 | 8.00 | 7.50 | 1 | yes | 0.500 | 0.500 | 0.500 | 0.500 | 3 |" in family.table(
        [line]
    )
