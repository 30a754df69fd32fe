"""didact.data.store: the same bytes for any number of processes, and however often it was interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_tools import bytes_of, made_up_documents, small_store, small_tokenizer

from didact.data import chunks
from didact.data.document import Document
from didact.data.store import Progress, Store, build_store
from didact.data.writer import LOCK, PROGRESS
from didact.errors import InputError
from didact.tokenization.whole_words import jieba_segmenter


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of a few documents, so that small corpora have many."""
    monkeypatch.setattr(chunks, "CHUNK", 1000)


def build(folder: Path, documents: Any, **changes: Any) -> Store:
    tokenizer = small_tokenizer(folder.parent / "tokenizer")
    return build_store(documents, tokenizer, folder, **({"processes": 1, "validation": 0.1} | changes))


def test_any_number_of_processes_writes_the_same_bytes(tmp_path: Path) -> None:
    documents = made_up_documents(80)
    found = []
    for processes in (1, 2, 3):
        folder = tmp_path / str(processes)
        build(folder, documents, processes=processes)
        found.append(bytes_of(folder))
    assert found[0] == found[1] == found[2]
    assert PROGRESS not in found[0]
    assert LOCK not in found[0]


def test_the_chunk_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = made_up_documents(40)
    build(tmp_path / "small", documents)
    monkeypatch.setattr(chunks, "CHUNK", 1 << 17)
    build(tmp_path / "large", documents)
    assert bytes_of(tmp_path / "small") == bytes_of(tmp_path / "large")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("after", [1, 23, 57])
def test_a_corpus_that_broke_off_is_continued(tmp_path: Path, after: int, processes: int) -> None:
    documents = made_up_documents(60)
    build(tmp_path / "whole", documents)

    def breaking() -> Iterator[Document]:
        yield from documents[:after]
        raise InputError("a bad line", file="corpus.txt", row=after)

    for _ in range(2):
        with pytest.raises(InputError, match="a bad line"):
            build(tmp_path / "broken", breaking(), processes=processes)
        with pytest.raises(InputError, match="not finished"):
            Store(tmp_path / "broken")
    seen: list[Progress] = []
    build(tmp_path / "broken", documents, progress=seen.append, processes=processes)
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "broken")
    assert seen[-1].documents == 60
    assert after < 10 or seen[0].resumed_documents > 0


SCRIPT = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from data_tools import made_up_documents, small_tokenizer
from didact.data import chunks
from didact.data.store import build_store
chunks.CHUNK = 1000
tokenizer = small_tokenizer(Path({folder!r}).parent / "tokenizer")
def slowly():
    for document in made_up_documents(60):
        time.sleep(0.01)
        yield document
build_store(slowly(), tokenizer, {folder!r}, processes={processes}, validation=0.1, save_every=0.0)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_continued(tmp_path: Path, processes: int) -> None:
    build(tmp_path / "whole", made_up_documents(60))
    folder = tmp_path / "killed"
    script = SCRIPT.format(path=sys.path, folder=str(folder), processes=processes)
    kills = 0
    for moment in np.linspace(0.02, 0.4, 6):  # seconds after the first note: in the middle of it all
        process = subprocess.Popen([sys.executable, "-c", script])
        while process.poll() is None and not (folder / PROGRESS).exists():
            time.sleep(0.005)
        time.sleep(float(moment))
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if not (folder / "store.json").exists():
            assert json.loads((folder / PROGRESS).read_text())["documents_read"] >= 0
    assert kills >= 2
    if not (folder / "store.json").exists():
        build(folder, made_up_documents(60))
    (folder / PROGRESS).unlink(missing_ok=True)
    (folder / LOCK).unlink(missing_ok=True)
    assert bytes_of(tmp_path / "whole") == bytes_of(folder)


def broken_off(folder: Path, documents: list[Document]) -> None:
    def breaking() -> Iterator[Document]:
        yield from documents
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder, breaking())


def test_it_goes_on_only_with_the_same(tmp_path: Path) -> None:
    documents = made_up_documents(40)
    folder = tmp_path / "store"
    broken_off(folder, documents[:30])
    changed = [Document(d.id, d.text.replace("river", "stone")) for d in documents]
    with pytest.raises(InputError, match="begun from other documents"):
        build(folder, changed)
    with pytest.raises(InputError, match="begun from more documents"):
        build(folder, documents[:5])
    with pytest.raises(InputError, match="other settings"):
        build(folder, documents, validation=0.3)
    assert build(folder, documents).documents == sum(bool(d.text.strip()) for d in documents)


def test_a_finished_store_is_not_touched(tmp_path: Path) -> None:
    build(tmp_path / "store", made_up_documents(8))
    before = bytes_of(tmp_path / "store")
    with pytest.raises(InputError, match="a finished store"):
        build(tmp_path / "store", made_up_documents(9))
    assert bytes_of(tmp_path / "store") == before


def test_one_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "store"

    def meanwhile() -> Iterator[Document]:
        yield from made_up_documents(4)
        with pytest.raises(InputError, match="another process is building"):
            build(folder, made_up_documents(4))

    build(folder, meanwhile())


def test_equal_texts_fall_on_the_same_side(tmp_path: Path) -> None:
    documents = made_up_documents(60)
    alone = build(tmp_path / "alone", documents, validation=0.3)
    twice = build(tmp_path / "twice", [*documents, *documents[::-1]], validation=0.3)
    own = alone.held_out.tolist()
    assert twice.held_out.tolist() == own + own[::-1]
    assert twice.documents == 2 * alone.documents
    wider = build(tmp_path / "wider", documents, validation=0.6)
    assert (wider.held_out >= alone.held_out).all()
    assert not build(tmp_path / "none", documents, validation=0.0).held_out.any()


def test_what_is_empty_is_dropped_and_counted(tmp_path: Path) -> None:
    documents = made_up_documents(40)
    store = build(tmp_path / "store", documents)
    empty = sum(not d.text.strip() for d in documents)
    assert empty
    assert store.meta["dropped"] == {"documents without tokens": empty}
    assert store.documents == 40 - empty
    assert store.meta["source_bytes"] == sum(len(d.text.encode()) for d in documents)
    with pytest.raises(InputError, match="no tokens"):
        build(tmp_path / "empty", [Document("0", " ")])


@pytest.mark.parametrize("validation", [-0.1, 1.0])
def test_shares_are_shares(tmp_path: Path, validation: float) -> None:
    with pytest.raises(InputError, match="validation share"):
        build(tmp_path / "store", made_up_documents(4), validation=validation)


def test_a_segmenter_makes_words_of_chinese(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a segmenter 'scissors'; expected one of jieba"):
        build(tmp_path / "store", made_up_documents(4), segmenter="scissors")
    pytest.importorskip("jieba", reason="the extra `zh` is not installed")
    documents = [Document("0", "天地天地人。"), *made_up_documents(30)]
    starts = [i == 0 for word in jieba_segmenter()("天地天地人") for i in range(len(word))] + [True]
    assert not all(starts)
    for processes in (1, 2):
        store = build(tmp_path / str(processes), documents, segmenter="jieba", processes=processes, validation=0.0)
        assert store.read(0, 6).word_starts.tolist() == starts
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")


def test_progress_is_reported(tmp_path: Path) -> None:
    seen: list[Progress] = []
    documents = made_up_documents(40)
    store = build(tmp_path / "store", documents, progress=seen.append)
    assert len(seen) > 3
    assert [p.documents for p in seen] == sorted(p.documents for p in seen)
    assert (seen[-1].documents, seen[-1].tokens) == (40, store.tokens)
    assert seen[-1].source_bytes == sum(len(d.text.encode()) for d in documents)
    assert seen[-1].resumed_documents == 0


def test_it_opens_in_the_run_that_built_it_and_later(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    assert Store(store.folder).meta == store.meta
    assert store.tokenizer.fingerprint == store.fingerprint
    assert "60 documents" not in repr(store)
    assert f"{store.documents:,} documents" in repr(store)
