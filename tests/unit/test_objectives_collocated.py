"""didact.objectives.collocated: entries are found as they stand; the longer one wins; of an overlap, one at random."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_tools import collocations_file, example, small_store

from didact.batch import Example
from didact.data.collocations import as_text, collocations
from didact.data.documents import FullSentences
from didact.data.lay import lay
from didact.objectives import Masked, PMISpans
from didact.randomness import generator

Words = list[list[int]]


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def listed(folder: Path, entries: list[Words]) -> PMISpans:
    """A selection of these entries."""
    lines = [json.dumps({"collocations": 1, "tokenizer": "x"}), "pmi\tcount\ttext\ttokens"]
    lines += [f"1.0\t20\t-\t{'|'.join(' '.join(map(str, word)) for word in entry)}" for entry in entries]
    path = folder / "list.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return PMISpans(str(path))


def spoken(words: Words, breaks: tuple[int, ...] = ()) -> Example:
    """[CLS], words of these tokens, a special token before those in `breaks`, [SEP]."""
    tokens, numbers = [2], [-1]
    for i, word in enumerate(words):
        tokens += [3] * (i in breaks) + word
        numbers += [-1] * (i in breaks) + [i] * len(word)
    special = np.array([n < 0 for n in (*numbers, -1)])
    return Example(np.array([*tokens, 3]), special, words=np.array([*numbers, -1]))


def units(select: PMISpans, e: Example, seed: int) -> list[list[int]]:
    """The words of each unit: all are chosen, so that the units themselves are seen."""
    chosen = select(lay([e]), 1.0, keys(1, seed))
    assert e.words is not None
    assert len(chosen.rows) == (~e.special).sum()
    found: dict[int, list[int]] = {}
    for row, part in zip(chosen.rows.tolist(), chosen.parts.tolist(), strict=True):
        found.setdefault(part, []).append(int(e.words[row]))
    return [list(dict.fromkeys(own)) for own in found.values()]


def test_entries_are_units_and_other_words_stand_alone(tmp_path: Path) -> None:
    select = listed(tmp_path, [[[10], [11]], [[12, 13], [14]]])
    e = spoken([[10], [11], [9], [12, 13], [14], [12], [14], [10, 11]])
    for seed in range(5):
        assert units(select, e, seed) == [[0, 1], [2], [3, 4], [5], [6], [7]]


def test_the_longer_of_two_inside_each_other(tmp_path: Path) -> None:
    """The united states, air force, the united states air force: the last one, where it stands."""
    the, united, states, air, force = ([t] for t in (20, 21, 22, 23, 24))
    select = listed(
        tmp_path, [[the, united, states], [air, force], [the, united, states, air, force], [united, states]]
    )
    assert units(select, spoken([the, united, states, air, force]), 0) == [[0, 1, 2, 3, 4]]
    assert units(select, spoken([the, united, states, air]), 0) == [[0, 1, 2], [3]]
    assert units(select, spoken([united, states, air, force]), 0) == [[0, 1], [2, 3]]


def test_one_of_two_that_overlap_at_random(tmp_path: Path) -> None:
    """By the way out: by the way and out, or by and the way out."""
    by, the, way, out = ([t] for t in (30, 31, 32, 33))
    select = listed(tmp_path, [[by, the, way], [the, way, out]])
    seen = Counter(str(units(select, spoken([by, the, way, out]), seed)) for seed in range(600))
    assert seen.keys() == {"[[0, 1, 2], [3]]", "[[0], [1, 2, 3]]"}
    assert all(200 < count < 400 for count in seen.values())


def test_a_chain_of_overlaps_is_taken_in_random_order(tmp_path: Path) -> None:
    """Of ab, bc, cd and de, each first winner leaves what a greedy reader would leave."""
    a, b, c, d, e = ([t] for t in range(40, 45))
    select = listed(tmp_path, [[a, b], [b, c], [c, d], [d, e]])
    seen = Counter(str(units(select, spoken([a, b, c, d, e]), seed)) for seed in range(2400))
    pairs = {"[[0, 1], [2, 3], [4]]": 9, "[[0, 1], [2], [3, 4]]": 6, "[[0], [1, 2], [3, 4]]": 9}  # of 24 orders
    assert seen.keys() == pairs.keys()
    for units_, orders in pairs.items():
        assert seen[units_] == pytest.approx(100 * orders, rel=0.2)


def test_entries_do_not_cross_special_tokens_or_sequences(tmp_path: Path) -> None:
    select = listed(tmp_path, [[[10], [11]]])
    assert units(select, spoken([[10], [11]], breaks=(1,)), 0) == [[0], [1]]
    bare = Example(np.array([10]), np.zeros(1, bool), words=np.zeros(1, np.int64))
    other = replace(bare, tokens=np.array([11]))
    chosen = select(lay([bare, other]), 1.0, keys(2))
    assert chosen.sequences.tolist() == [0, 1]


def test_a_unit_is_chosen_whole_and_meets_one_fate(tmp_path: Path) -> None:
    select = listed(tmp_path, [[[10], [11, 12], [13]]])
    e = spoken([[10], [11, 12], [13], *[[t] for t in range(50, 70)]])
    objective = Masked(4, 100, (0, 1, 2, 3, 4), rate=0.4, select=select)
    fates = Counter()
    for seed in range(300):
        made = objective.prepare(e, generator(seed))
        (asked,) = made.labels
        inside = set(asked.rows.tolist()) & {1, 2, 3, 4}
        assert inside in (set(), {1, 2, 3, 4})
        if inside:
            masks = (made.inputs.tokens[1:5] == 4).sum()
            assert masks in (0, 4)
            fates[int(masks)] += 1
    assert fates[4] / fates.total() == pytest.approx(0.8, abs=0.08)


def test_where_no_unit_fits_the_shortest_word_is_taken(tmp_path: Path) -> None:
    select = listed(tmp_path, [[[10, 10], [11], [12, 12]]])
    for seed in range(10):
        chosen = select(lay([spoken([[10, 10], [11], [12, 12]])]), 0.1, keys(1, seed))
        assert chosen.rows.tolist() == [3]


def test_an_empty_list_is_whole_words(tmp_path: Path) -> None:
    select = listed(tmp_path, [])
    assert units(select, spoken([[10], [11]]), 0) == [[0], [1]]


def test_units_of_a_corpus_are_what_its_own_list_says(tmp_path: Path) -> None:
    """Against a plain reader: every run of words, longest first, looked up in a set."""
    store = small_store(tmp_path, 200)
    found = collocations(store, 60, least=3)
    path = tmp_path / "found.tsv"
    path.write_text(as_text(found, store), encoding="utf-8")
    select, known = PMISpans(str(path)), {entry.words for entry in found.entries}
    select.check(store.tokenizer)
    source = FullSentences(store, 60)
    matched = 0
    for index in range(12):
        e = source(index, generator(index))
        assert e.words is not None
        words = [tuple(e.tokens[e.words == w].tolist()) for w in range(int(e.words.max()) + 1)]
        rows = [np.flatnonzero(e.words == w) for w in range(len(words))]
        runs = []
        for i in range(len(words)):
            for n in range(5, 1, -1):
                whole = i + n <= len(words) and rows[i + n - 1][-1] - rows[i][0] + 1 == sum(map(len, words[i : i + n]))
                if whole and tuple(words[i : i + n]) in known:
                    runs.append((i, i + n))
                    break
        outermost = [r for r in runs if not any(o != r and o[0] <= r[0] and r[1] <= o[1] for o in runs)]
        own = [(unit[0], unit[-1] + 1) for unit in units(select, e, index) if len(unit) > 1]
        matched += len(own)
        assert set(own) <= set(outermost)
        for run in outermost:  # one that was not taken overlaps one that was
            assert any(max(run[0], o[0]) < min(run[1], o[1]) for o in own)
    assert matched > 20


def test_the_list_that_the_laws_use_is_found_in_their_examples() -> None:
    select = PMISpans(str(collocations_file()))
    chosen = select(lay([example(300, seed=i) for i in range(20)]), 1.0, keys(20))
    parts = Counter(zip(chosen.sequences.tolist(), chosen.parts.tolist(), strict=True))
    assert max(parts.values()) >= 2
