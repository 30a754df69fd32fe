"""didact.data.anchors: documents cut into runs of sentences, from the offsets alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_tools import bytes_of, small_store

from didact.data import anchors as anchors_file
from didact.data.anchors import Cut, anchors, units_of
from didact.data.stored import Store
from didact.errors import InputError

CUTS = {
    "sequence": Cut(30, 30),
    "crossing": Cut(30, 30, crossing=True),
    "pairs": Cut(29, 14, pairs=True),
    "sentences": Cut(29, 14, units="two", pairs=True),
    "narrow": Cut(3, 1, pairs=True),
}
EVERY = pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("anchors"))


def by_hand(store: Store, split: str, cut: Cut) -> list[tuple[int, int]]:
    """The same anchors, sentence by sentence."""
    documents = []
    for d in store.split(split):  # type: ignore[arg-type]
        units = []
        for s in range(store.document_starts[d], store.document_starts[d + 1]):
            start, stop = int(store.sentence_starts[s]), int(store.sentence_starts[s + 1])
            units += [(a, min(a + cut.longest, stop)) for a in range(start, stop, cut.longest)]
        documents.append(units)
    found: list[list[tuple[int, int]]] = []
    for units in documents:
        fresh, first = True, len(found)
        for unit in units:
            separator = int(fresh and cut.crossing and bool(found))
            room = sum(b - a for a, b in found[-1]) + unit[1] - unit[0] + separator if found else 0
            if cut.crossing and found:
                room += sum(found[-1][i][0] in starts_of(documents) for i in range(1, len(found[-1])))
            opens = not found or (fresh and not cut.crossing) or room > cut.room
            opens = opens or (cut.units == "two" and len(found[-1]) == 2)
            if opens:
                found.append([unit])
            else:
                found[-1].append(unit)
            fresh = False
        own = found[first:]
        if cut.pairs and cut.units == "room" and len(own) > 1 and len(own[-1]) == 1 and len(own[-2]) > 2:
            own[-1].insert(0, own[-2].pop())
    return [(units[0][0], units[-1][1]) for units in found]


def starts_of(documents: list[list[tuple[int, int]]]) -> set[int]:
    return {units[0][0] for units in documents}


@EVERY
@pytest.mark.parametrize("split", ["train", "validation"])
def test_they_are_what_a_loop_over_sentences_finds(store: Store, cut: Cut, split: str) -> None:
    assert anchors(store, split, cut).places.tolist() == [list(p) for p in by_hand(store, split, cut)]  # type: ignore[arg-type]


@EVERY
def test_blocks_do_not_show_but_at_their_ends(store: Store, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = anchors_file._in_memory(store, "train", cut)
    monkeypatch.setattr(anchors_file, "_BLOCK", 50)
    blocks = anchors_file._in_memory(store, "train", cut)
    assert len(list(anchors_file._blocks(store, "train"))) > 4
    if cut.crossing:  # an anchor ends where its block does
        assert set(map(tuple, whole.places.tolist()[:5])) <= set(map(tuple, blocks.places.tolist()))
    else:
        assert blocks.places.tolist() == whole.places.tolist()
        assert blocks.counts == whole.counts


@EVERY
def test_every_token_of_the_split_is_in_one_anchor(store: Store, cut: Cut) -> None:
    seen = np.zeros(store.tokens, int)
    for start, stop in anchors(store, "train", cut).places.tolist():
        seen[start:stop] += 1
    for number, held_out in enumerate(store.held_out):
        start, stop = store.document(number)
        if held_out:  # at most passed over by anchors that cross documents
            assert seen[start:stop].max() <= int(cut.crossing)
        else:
            assert (seen[start:stop] == 1).all()


@EVERY
def test_counts(store: Store, cut: Cut) -> None:
    table = anchors(store, "train", cut)
    documents = store.split("train")
    lengths = np.diff(store.document_starts)[documents]
    assert table.counts["documents"] == len(documents)
    assert table.counts["sentences"] == lengths.sum()
    assert table.counts["documents of one sentence"] == (lengths == 1).sum()
    sizes = [
        size
        for d in documents
        for size in np.diff(store.sentence_starts[store.document_starts[d] : store.document_starts[d + 1] + 1])
    ]
    assert table.counts["sentences cut"] == sum(size > cut.longest for size in sizes)
    assert table.counts["anchors"] == len(table.places)
    if not cut.crossing:
        alone = sum(len(units_of(store, a, b, cut.longest)) == 2 for a, b in table.places.tolist())
        assert table.counts["anchors of one sentence"] == alone


def test_units_of_an_anchor_are_its_sentences(store: Store) -> None:
    start, stop = store.document(int(store.split("train")[3]))
    assert units_of(store, start, stop, 1000) == [s for s in store.sentence_starts.tolist() if start <= s <= stop]
    assert units_of(store, start, start + 9, 4) == sorted(
        {start, start + 9, *units_of(store, start, stop, 4)[:9]} & set(range(start, start + 10))
    )
    assert units_of(store, start + 1, start + 2, 4) == [start + 1, start + 2]


def test_the_table_is_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = small_store(tmp_path)
    first = anchors(store, "train", CUTS["pairs"])
    kept = bytes_of(store.folder / "tables")
    assert sorted(name.rpartition(".")[2] for name in kept) == ["bin", "json"]
    monkeypatch.delattr(anchors_file, "_block")  # nothing is computed any more
    again = anchors(store, "train", CUTS["pairs"])
    assert again.places.tolist() == first.places.tolist()
    assert again.counts == first.counts
    assert bytes_of(store.folder / "tables") == kept
    monkeypatch.undo()
    shutil.rmtree(store.folder / "tables")
    anchors(store, "train", CUTS["pairs"])
    assert bytes_of(store.folder / "tables") == kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.write_bytes(table.read_bytes()[:-3]),
        lambda table: table.write_bytes(table.read_bytes()[:-16]),
        lambda table: table.write_bytes(b""),
        lambda table: table.with_suffix(".json").write_text("{"),
        lambda table: table.with_suffix(".json").write_text("[]"),
        lambda table: table.with_suffix(".json").write_bytes(b"\xff"),
        lambda table: table.with_suffix(".json").unlink(),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store, cut = small_store(tmp_path), CUTS["sequence"]
    before = anchors(store, "train", cut).places.tolist()
    (table,) = (store.folder / "tables").glob("*.bin")
    damage(table)
    with pytest.raises(InputError, match="damaged or cut short; expected none: it is made anew") as told:
        anchors(store, "train", cut)
    assert told.value.file == table
    table.unlink()
    assert anchors(store, "train", cut).places.tolist() == before


def test_a_store_that_cannot_be_written_to(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    expected = anchors_file._in_memory(store, "train", CUTS["pairs"])
    (store.folder / "tables").write_text("in the way")
    found = anchors(store, "train", CUTS["pairs"])
    assert found.places.tolist() == expected.places.tolist()
    assert found.counts == expected.counts


def test_an_empty_split(tmp_path: Path) -> None:
    store = small_store(tmp_path, count=6, validation=0.0)
    assert anchors(store, "validation", CUTS["pairs"]).places.shape == (0, 2)
    assert anchors(store, "validation", CUTS["crossing"]).places.shape == (0, 2)
