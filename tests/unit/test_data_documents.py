"""didact.data.documents: what each format shows of a store, and what it asks of pairs."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from data_tools import made_up_documents, small_store, small_tokenizer

from didact.batch import Example
from didact.data.document import Document
from didact.data.documents import FORMATS, DocSentences, Format, FullSentences, SegmentPair, SentencePair
from didact.data.store import build_store
from didact.data.stored import Store
from didact.errors import InputError
from didact.randomness import generator

LENGTH = 32
EVERY = pytest.mark.parametrize("kind", FORMATS, ids=lambda f: f.kind)
PAIRS = pytest.mark.parametrize("kind", [f for f in FORMATS if f.pairs], ids=lambda f: f.kind)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("documents"), count=120)


def every(source: Format, seed: int = 0) -> list[Example]:
    return [source(i, generator(seed, i)) for i in range(len(source))]


def halves(e: Example) -> tuple[list[int], list[int]]:
    """The tokens of A and of B, from the segments."""
    assert e.segments is not None
    text = ~e.special
    return tuple(e.tokens[text & (e.segments == s)].tolist() for s in (0, 1))  # type: ignore[return-value]


def place_in(store: Store, tokens: list[int], document: int) -> int:
    """Where in a document these tokens stand, -1 = nowhere."""
    start, stop = store.document(document)
    own = store.token_ids[start:stop].tolist()
    return next((i for i in range(len(own) - len(tokens) + 1) if own[i : i + len(tokens)] == tokens), -1)


@EVERY
@pytest.mark.parametrize("split", ["train", "validation"])
def test_all_tokens_of_the_split_are_shown_once(store: Store, kind: type[Format], split: str) -> None:
    shown = [t for e in every(kind(store, LENGTH, split)) for t in e.tokens[~e.special].tolist()]  # type: ignore[arg-type]
    own = [t for d in store.split(split) for t in store.token_ids[slice(*store.document(int(d)))].tolist()]  # type: ignore[arg-type]
    assert shown == own


@EVERY
def test_examples_are_well_formed(store: Store, kind: type[Format]) -> None:
    tokenizer = store.tokenizer
    for e in every(kind(store, LENGTH)):
        assert 3 <= len(e) <= LENGTH
        assert e.segments is not None
        assert e.words is not None
        assert e.source_bytes is not None
        assert e.source is not None
        assert e.tokens[0] == tokenizer.cls
        assert e.tokens[-1] == tokenizer.sep
        assert np.array_equal(e.special, np.isin(e.tokens, [tokenizer.cls, tokenizer.sep]))
        assert np.array_equal(e.words < 0, e.special)
        text = e.words[~e.special]
        assert text[0] == 0
        assert set(np.diff(text)) <= {0, 1}
        assert ((e.source_bytes > 0) == ~e.special).all()
        a, b = halves(e)
        assert e.segments.tolist() == [0] * (len(a) + 2 + (0 if b else int(e.special.sum()) - 2)) + [1] * (
            len(b) + 1 if b else 0
        )
        assert not store.held_out[e.source.record]


@EVERY
def test_sentences_begin_where_the_store_says(store: Store, kind: type[Format]) -> None:
    """Or where a segment goes on with one that was begun before it."""
    starts = {store.text(a, b) for a, b in pairwise(store.sentence_starts.tolist())}
    whole = 0
    for e in every(kind(store, LENGTH))[:40]:
        assert e.sentences is not None
        borders = [*e.sentences.tolist(), len(e)]
        assert not e.special[e.sentences].any()
        assert set(np.flatnonzero(np.diff(e.special.astype(int)) < 0) + 1) <= set(borders)
        for a, b in pairwise(borders):
            own = e.tokens[a:b][~e.special[a:b]]
            whole += store.tokenizer.decode(own) in starts
    assert whole > 20


@EVERY
def test_only_a_pair_is_asked_anything(store: Store, kind: type[Format]) -> None:
    assert all(not e.targets.keys() - {"documents"} for e in every(kind(store, LENGTH)))
    if not kind.pairs:
        with pytest.raises(InputError, match="relation 'next' in format"):
            kind(store, LENGTH, relation="next")


@PAIRS
def test_order(store: Store, kind: type[Format]) -> None:
    straight, asked = every(kind(store, LENGTH)), every(kind(store, LENGTH, relation="order"))
    relations = [e.targets.get("relation") for e in asked]
    for e in asked:
        a, b = halves(e)
        assert e.source is not None
        assert (e.targets.get("relation") is None) == (not b)
        if b:
            (a, b) = (b, a) if e.targets["relation"] else (a, b)
            at = place_in(store, a + b, int(e.source.record))
            assert at >= 0
    assert 0.35 < np.mean([r for r in relations if r is not None]) < 0.65
    assert [r is None for r in relations] == [not halves(e)[1] for e in straight]


@PAIRS
def test_next(store: Store, kind: type[Format]) -> None:
    source = kind(store, LENGTH, relation="next")
    lengths: dict[int, list[int]] = {0: [], 1: []}
    for index, e in enumerate(every(source)):
        a, b = halves(e)
        assert e.source is not None
        if not b:
            assert not e.targets
            continue
        start, stop = source.place(index)
        lengths[e.targets["relation"]].append(len(e))
        assert source.document_at(start) == e.source.record
        if e.targets["relation"] == 0:
            assert store.token_ids[start:stop].tolist() == a + b
            assert e.targets["unused"] == 0
        else:
            assert store.token_ids[start : start + len(a)].tolist() == a
            assert e.targets["unused"] == stop - start - len(a)
            others = [d for d in store.split("train").tolist() if d != e.source.record]
            assert any(place_in(store, b, d) >= 0 for d in others)
    assert 0.35 < len(lengths[1]) / (len(lengths[0]) + len(lengths[1])) < 0.65
    assert np.mean(lengths[1]) == pytest.approx(np.mean(lengths[0]), rel=0.12)  # length is no clue


@PAIRS
def test_counts_say_what_is_alone(store: Store, kind: type[Format]) -> None:
    source = kind(store, LENGTH, relation="order")
    alone = sum(not e.targets for e in every(source))
    assert source.counts["anchors of one sentence"] == alone
    assert source.counts["sentences cut"] > 0


def test_sentence_pairs_are_two_sentences(store: Store) -> None:
    starts = set(store.sentence_starts.tolist())
    source = SentencePair(store, 128)
    for index in range(len(source)):
        start, stop = source.place(index)
        inside = sum(start < s < stop for s in starts)
        b = halves(source(index, generator(0)))[1]
        assert inside <= 1
        assert bool(b) == (inside == 1) or stop - start > 60  # a cut sentence makes pairs of its own pieces


@pytest.mark.parametrize("near", [1, 3])
def test_from_near_by(store: Store, near: int) -> None:
    """The other document is that of an anchor so near, but where all of these are of its own."""
    source = SegmentPair(store, LENGTH, relation="next", near=near)
    owners = [source.document_at(source.place(i)[0]) for i in range(len(source))]
    apart = 0
    for index, e in enumerate(every(source)):
        around = set(owners[max(0, index - near) : index + near + 1]) - {owners[index]}
        if e.targets.get("relation") == 1 and around:
            apart += 1
            assert any(place_in(store, halves(e)[1], d) >= 0 for d in around)
    assert apart > 10


def test_a_sentence_from_elsewhere_is_one_sentence(store: Store) -> None:
    starts = {tuple(store.token_ids[a : a + 2].tolist()) for a in store.sentence_starts[:-1]}
    for e in every(SentencePair(store, 128, relation="next")):
        b = halves(e)[1]
        if b and len(b) < 60:
            assert tuple(b[:2]) in starts
            assert b.count(b[-1]) == 1  # the full stop


def test_full_sentences_cross_documents_with_a_separator(store: Store) -> None:
    tokenizer = store.tokenizer
    crossing = [e for e in every(FullSentences(store, LENGTH)) if (e.tokens == tokenizer.sep).sum() > 1]
    assert crossing
    for e in crossing:
        inner = np.flatnonzero(e.tokens == tokenizer.sep)[:-1]
        assert e.source is not None
        documents = [int(e.source.record)]
        for row in inner.tolist():
            after = e.tokens[row + 1 : row + 3].tolist()
            following = next(d for d in store.split("train").tolist() if d > documents[-1])
            start = store.document(following)[0]
            assert store.token_ids[start : start + 2].tolist()[: len(after)] == after[:2] or tokenizer.sep in after
            documents.append(following)
    assert all((e.tokens == tokenizer.sep).sum() == 1 for e in every(DocSentences(store, LENGTH)))


@EVERY
def test_an_example_depends_on_its_index_and_key_alone(store: Store, kind: type[Format]) -> None:
    relation = "next" if kind.pairs else "none"
    source = kind(store, LENGTH, relation=relation)
    forward = every(source)
    copy = pickle.loads(pickle.dumps(source))
    for i in reversed(range(len(source))):
        assert np.array_equal(copy(i, generator(0, i)).tokens, forward[i].tokens)
    if kind.pairs:
        assert any(
            len(a) != len(b) or (a.tokens != b.tokens).any() for a, b in zip(forward, every(source, 1), strict=True)
        )


@EVERY
def test_nothing_of_a_format_but_its_fields_is_sent(store: Store, kind: type[Format]) -> None:
    source = kind(store, LENGTH)
    len(source)
    assert len(pickle.dumps(source)) < 1000


def test_one_document_cannot_be_paired_with_another(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    text = "River stone. Lamp song. Cloud."
    store = build_store([Document("0", text)], tokenizer, tmp_path / "one", processes=1, validation=0.0)
    assert len(SegmentPair(store, 16, relation="order")) == 1
    with pytest.raises(InputError, match="one document"):
        len(SegmentPair(store, 16, relation="next"))
    with pytest.raises(InputError, match="no documents in the validation split"):
        len(SegmentPair(store, 16, "validation"))
    with pytest.raises(InputError, match="sequences of 4 tokens"):
        SegmentPair(store, 4)


def test_nearly_all_of_one_document(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    long = " ".join(["River stone lamp."] * 600)
    documents = [Document("0", long), Document("1", "Song."), *made_up_documents(1)]
    store = build_store(documents, tokenizer, tmp_path / "two", processes=1, validation=0.0)
    source = SegmentPair(store, 16, relation="next")
    for index in range(40):
        e = source(index, generator(1, index))
        b = halves(e)[1]
        assert e.targets["relation"] == 0 or (b and place_in(store, b, 0) < 0) or len(b) == 1


@PAIRS
def test_a_document_of_one_sentence_is_shown_alone(tmp_path: Path, kind: type[Format]) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    texts = ["River stone.", "Lamp song cloud.", "Night. Field."]
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    store = build_store(documents, tokenizer, tmp_path / "store", processes=1, validation=0.0)
    source = kind(store, 16, relation="next")
    assert source.counts["documents of one sentence"] == source.counts["anchors of one sentence"] == 2
    examples = every(source)
    assert [bool(e.targets) for e in examples] == [False, False, True]
    assert tokenizer.tokens(examples[0].tokens) == ["[CLS]", "river", "stone", ".", "[SEP]"]
