"""didact.data.collocations: the measure by brute force, on a small corpus; the file."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_tools import small_store, small_tokenizer

from didact.data.collocations import Collocation, Collocations, Gram, as_text, collocations, read
from didact.data.document import Document
from didact.data.store import Store, build_store
from didact.errors import InputError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Sentences of stems in some order, with "winter river stone" and "night song" planted; words of several tokens."""
    folder = tmp_path_factory.mktemp("collocations")
    rng = np.random.default_rng(0)
    stems = ["river", "stone", "cloud", "lamps", "papering", "glass", "field"]
    documents = []
    for number in range(60):
        words: list[str] = []
        for _ in range(int(rng.integers(5, 40))):
            chance = rng.random()
            planted = "winter river stone" if chance < 0.12 else "night songs" if chance < 0.25 else ""
            words += (planted or str(rng.choice(stems))).split()
        documents.append(Document(f"d{number}", " ".join(words)))
    return build_store(documents, small_tokenizer(folder / "tokenizer"), folder / "store", processes=1, validation=0.2)


def documents_of(store: Store, split: str = "train") -> Iterator[list[tuple[int, ...]]]:
    """Each document's words as tuples of tokens."""
    for number in store.split(split):  # type: ignore[arg-type]
        text = store.read(*store.document(int(number)))
        words: list[list[int]] = []
        for token, begins in zip(text.tokens.tolist(), text.word_starts.tolist(), strict=True):
            if begins or not words:
                words.append([])
            words[-1].append(token)
        yield [tuple(word) for word in words]


def brute(store: Store, longest: int, least: int) -> dict[Gram, tuple[float, int]]:
    """PMI and count of every n-gram that occurs often enough, by the definition: all cuts, written out."""
    counts: dict[int, Counter[Gram]] = {n: Counter() for n in range(1, longest + 1)}
    for words in documents_of(store):
        for n, own in counts.items():
            own.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    def log_p(gram: Gram) -> float:
        own = counts[len(gram)]
        return math.log(own[gram] / sum(own.values()))

    found = {}
    for n in range(2, longest + 1):
        for gram, count in counts[n].items():
            if count < least:
                continue
            cuts = [c for k in range(1, n) for c in itertools.combinations(range(1, n), k)]
            parts = [[gram[a:b] for a, b in itertools.pairwise((0, *cut, n))] for cut in cuts]
            found[gram] = min(log_p(gram) - sum(map(log_p, own)) for own in parts), count
    return found


@pytest.mark.parametrize("longest", [2, 3, 5])
@pytest.mark.parametrize("least", [2, 6])
def test_the_measure_is_the_papers(store: Store, longest: int, least: int) -> None:
    expected = {gram: own for gram, own in brute(store, longest, least).items() if own[0] > 0}
    found = collocations(store, 10**6, longest=longest, least=least)
    assert {entry.words for entry in found.entries} == expected.keys()
    assert len(found.entries) == len(expected) > 5
    for entry in found.entries:
        assert entry.pmi == pytest.approx(expected[entry.words][0], abs=1e-9)
        assert entry.count == expected[entry.words][1]
    assert max(len(entry.words) for entry in found.entries) == longest
    assert any(len(word) > 1 for entry in found.entries for word in entry.words)


def test_what_was_planted_comes_first(store: Store) -> None:
    found = collocations(store, 8, longest=3, least=10)
    texts = [store.tokenizer.decode([t for word in entry.words for t in word]) for entry in found.entries]
    assert texts[0] in ("night songs", "winter river")
    assert "night songs" in texts[:2]
    assert "winter river stone" in texts


def test_shares_of_lengths_and_order(store: Store) -> None:
    found = collocations(store, 16, longest=5, least=2).entries
    assert [len(e.words) for e in found] == [2] * 8 + [3] * 4 + [4] * 2 + [5] * 2  # 50, 25, 12.5 and 12.5 per cent
    for _, own in itertools.groupby(found, key=lambda e: len(e.words)):
        scores = [e.pmi for e in own]
        assert scores == sorted(scores, reverse=True)


def test_only_training_documents_and_a_sample_of_many(store: Store) -> None:
    whole = collocations(store, least=2)
    assert whole.facts["documents"] == len(store.split("train"))
    assert whole.facts["words"] == sum(map(len, documents_of(store)))
    half = collocations(store, least=2, most_tokens=store.tokens // 3)
    assert half.facts["documents"] < whole.facts["documents"] / 2
    held = collocations(store, least=2, split="validation")
    assert held.facts["words"] == sum(map(len, documents_of(store, "validation")))


def test_a_corpus_too_small_has_none(tmp_path: Path) -> None:
    assert collocations(small_store(tmp_path, 5), least=10**4).entries == ()


@pytest.mark.parametrize("longest", [1, 6])
def test_lengths_without_a_share(store: Store, longest: int) -> None:
    with pytest.raises(InputError, match="expected 2 to 5"):
        collocations(store, longest=longest)


def test_there_and_back(store: Store, tmp_path: Path) -> None:
    found = collocations(store, 20, least=2)
    path = tmp_path / "found.tsv"
    path.write_text(as_text(found, store), encoding="utf-8")
    again = read(path)
    assert (again.tokenizer, again.facts) == (store.fingerprint, found.facts)
    assert [(e.words, e.count) for e in again.entries] == [(e.words, e.count) for e in found.entries]
    assert [e.pmi for e in again.entries] == pytest.approx([e.pmi for e in found.entries], abs=1e-6)
    assert "night songs" in path.read_text(encoding="utf-8")
    path.write_text(as_text(Collocations((Collocation(((5,), (6, 7)), 1.0, 3),), "x"), store), encoding="utf-8")
    assert read(path).entries == (Collocation(((5,), (6, 7)), 1.0, 3),)


HEAD = '{"collocations": 1, "tokenizer": "x"}\npmi\tcount\ttext\ttokens\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ":1: not a list of collocations"),
        ("[1]\n", ":1: not a list of collocations"),
        ('{"collocations": 9, "tokenizer": "x"}\n', ":1: collocations of format 9; expected format 1"),
        (HEAD + "1.0\t3\ta b\t5|6\nrubbish\n", r":4: found 'rubbish'; expected pmi, count, text, tokens"),
        (HEAD + "1.0\t3\ta b\t5|6\n\n1.0\t3\ta b\t5|6\n", ":4: found ''"),
        (HEAD + "1.0\t3\ta b\t5|six\n", ":3: found"),
        (HEAD + "1.0\t3\ta\t5\n", ":3: found the words '5'; expected two or more"),
        (HEAD + "1.0\t3\ta\t5|-6\n", ":3: found the words"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "found.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read(path)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nowhere.tsv")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory; expected what"):
        read(tmp_path)
