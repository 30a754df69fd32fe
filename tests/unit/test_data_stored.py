"""didact.data.stored: a store says what is in it, and refuses what is damaged or not its own."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_tools import made_up_documents, small_store, small_tokenizer

from didact.data.store import build_store
from didact.data.stored import FILES, META, Store, path_of, token_type
from didact.errors import InputError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("stored"))


def test_it_holds_what_the_tokenizer_made(store: Store) -> None:
    documents = [d for d in made_up_documents(60) if d.text.strip()]
    assert store.documents == len(documents)
    for number, document in enumerate(documents):
        start, stop = store.document(number)
        wanted, found = store.tokenizer.encode(document.text), store.read(start, stop)
        assert wanted.source_bytes is not None
        assert found.source_bytes is not None
        assert found.tokens.tolist() == wanted.tokens.tolist()
        assert found.word_starts.tolist() == wanted.word_starts.tolist()
        assert found.source_bytes.tolist() == wanted.source_bytes.tolist()
        assert found.offsets is None
        assert int(found.source_bytes.sum()) == len(document.text.encode())
        assert store.text(start, stop) == store.tokenizer.decode(wanted.tokens)
    assert store.document(len(documents) - 1)[1] == store.tokens


def test_sentences_begin_where_the_documents_say(store: Store) -> None:
    documents = [d for d in made_up_documents(60) if d.text.strip()]
    assert store.sentences == sum(len(d.spans()) for d in documents) == len(store.sentence_starts) - 1
    number = 30
    first, last = store.document_starts[number : number + 2]
    for sentence, (a, b) in zip(range(first, last), documents[number].spans(), strict=True):
        own = store.token_ids[store.sentence_starts[sentence] : store.sentence_starts[sentence + 1]]
        assert own.tolist() == store.tokenizer.encode(documents[number].text[a:b]).tokens.tolist()


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 7), (3, 11), (8, 8), (13, 64), (1, 2)])
def test_any_range_is_read(store: Store, start: int, stop: int) -> None:
    whole, part = store.read(0, 64), store.read(start, stop)
    assert whole.source_bytes is not None
    assert part.source_bytes is not None
    assert len(part) == stop - start
    assert part.word_starts.tolist() == whole.word_starts[start:stop].tolist()
    assert part.source_bytes.tolist() == whole.source_bytes[start:stop].tolist()


def test_splits_are_the_documents(store: Store) -> None:
    train, validation = store.split("train"), store.split("validation")
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(store.documents))
    assert 0.05 < len(validation) / store.documents < 0.4


@pytest.mark.parametrize("split", ["train", "validation"])
def test_unigram_entropy(store: Store, split: str) -> None:
    counts = np.zeros(store.vocabulary)
    for number in store.split(split):  # type: ignore[arg-type]
        start, stop = store.document(int(number))
        for token in store.token_ids[start:stop].tolist():
            counts[token] += 1
    p = counts[counts > 0] / counts.sum()
    assert store.unigram_entropy(split) == pytest.approx(float(-(p * np.log(p)).sum()))  # type: ignore[arg-type]


def test_it_pickles_as_its_path(store: Store) -> None:
    store.read(0, 5)
    assert len(pickle.dumps(store)) < 500
    assert pickle.loads(pickle.dumps(store)).tokens == store.tokens


def test_ids_take_two_bytes_where_they_can() -> None:
    assert token_type(1 << 16) == np.dtype("<u2")
    assert token_type((1 << 16) + 1) == np.dtype("<u4")


def test_verify_reads_every_byte(tmp_path: Path) -> None:
    store = small_store(tmp_path, count=8)
    store.verify()
    for name in FILES:
        path = path_of(store.folder, name)
        if not (content := path.read_bytes()):
            continue
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(InputError, match="checksum") as caught:
            Store(store.folder).verify()
        assert caught.value.file == path
        path.write_bytes(content)
    store.verify()


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    folder = small_store(tmp_path, count=8).folder
    path = path_of(folder, name)
    size = path.stat().st_size
    if size:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match=f"{name}.bin: {size - 1} bytes; expected {size} bytes"):
            Store(folder)
    path.unlink()
    with pytest.raises(InputError, match="the file is missing"):
        Store(folder)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    store = small_store(tmp_path, count=8)
    (tmp_path / "other").mkdir()
    vocabulary = (tmp_path / "tokenizer" / "vocab.txt").read_text()
    (tmp_path / "other" / "vocab.txt").write_text(vocabulary + "extra\n")
    other = type(store.tokenizer).load(tmp_path / "other")
    Store(store.folder, small_tokenizer(tmp_path / "tokenizer"))
    with pytest.raises(InputError, match="another tokenizer"):
        Store(store.folder, other)
    shutil.copytree(tmp_path / "other", store.folder / "tokenizer", dirs_exist_ok=True)
    (store.folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="not the tokenizer that made the store's tokens"):
        _ = Store(store.folder).tokenizer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "a store of version 99; expected version 1"),
        ({"files": {}}, "not the description of a store"),
        ({"tokenizer": None}, "not the description of a store"),
    ],
)
def test_another_description_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = small_store(tmp_path, count=8).folder
    meta = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps(meta | change))
    with pytest.raises(InputError, match=message):
        Store(folder)
    (folder / META).write_text("{")
    with pytest.raises(InputError, match="not the description of a store"):
        Store(folder)


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no store here; expected a folder with {META}"):
        Store(tmp_path)


def test_source_bytes_of_any_size(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    document = made_up_documents(1)[0]
    gap = type(document)("gap", f"river{' ' * 1000}stone{' ' * 253}cloud{' ' * 70_000}!")
    store = build_store([document, gap], tokenizer, tmp_path / "store", processes=1, validation=0.0)
    start, stop = store.document(1)
    assert store.read(start, stop).source_bytes.tolist() == [5, 1005, 258, 70_001]  # type: ignore[union-attr]
    assert store.read(start + 2, start + 3).source_bytes.tolist() == [258]  # type: ignore[union-attr]
