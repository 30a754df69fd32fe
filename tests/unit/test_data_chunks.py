"""didact.data.chunks: what a chunk holds depends on the documents alone; sentences begin at their first token."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from data_tools import made_up_documents, small_tokenizer

from didact.data import chunks
from didact.data import document as documents_file
from didact.data.chunks import chunks_of, tokenize
from didact.data.document import Document


def numbered(documents: list[Document]) -> list[tuple[int, str, Document]]:
    return [(i, f"digest {i}", d) for i, d in enumerate(documents, 1)]


def test_chunks_hold_every_document_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 700)
    documents = made_up_documents(50)
    made = list(chunks_of(numbered(documents), 0.3))
    assert len(made) > 5
    assert [d for c in made for d in c.documents] == documents
    assert all(c.closed and c.digest == f"digest {c.read}" for c in made)
    assert made[-1].read == 50
    assert sum(c.source_bytes for c in made) == sum(len(d.text.encode()) for d in documents)
    shuffled = documents.copy()
    random.Random(0).shuffle(shuffled)
    held = {d.text for c in made for d, h in zip(c.documents, c.held_out, strict=True) if h}
    again = chunks_of(numbered(shuffled), 0.3)
    assert held == {d.text for c in again for d, h in zip(c.documents, c.held_out, strict=True) if h}
    assert 5 < len(held) < 25


def test_a_long_document_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 100)
    monkeypatch.setattr(documents_file.Document.parts, "__defaults__", (60,))
    long = Document("long", "\n".join(["river stone cloud lamp."] * 12))
    made = list(chunks_of(numbered([Document("a", "lamp."), long, Document("b", "song.")]), 0.0))
    assert not made[0].closed
    assert [c.read for c in made] == sorted(c.read for c in made)
    assert [c.read for c in made if not c.closed] == [1] * sum(not c.closed for c in made)
    assert made[-1].read == 3
    joined = "\n".join(d.text for c in made for d in c.documents)
    assert joined == f"lamp.\n{long.text}\nsong."


def test_sentences_and_documents_begin_at_their_first_token(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    documents = [
        Document("two", "River stone. Lamps!"),
        Document("empty", " \n"),
        Document("lines", "cloud\n\n...\nsong天地", ("cloud", "", "...", "song天地")),
        Document("chinese", "天地人。人天。"),
    ]
    made = tokenize(documents, tokenizer, None)
    pieces = tokenizer.tokens(made.tokens.astype("int64"))
    assert pieces[:5] == ["river", "stone", ".", "lamp", "##s"]
    assert [pieces[s] for s in made.sentences] == ["river", "lamp", "cloud", ".", "song", "天", "人"]
    assert made.sentences_of.tolist() == [2, 0, 3, 2]
    assert made.source_bytes.sum() == sum(len(d.text.encode()) for d in documents if d.text.strip())


def test_a_token_across_the_border_belongs_to_the_sentence_before(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    made = tokenize([Document("cut", "clo\nud lamp.", ("clo", "ud lamp."))], tokenizer, None)
    assert made.sentences[0] == 0
    whole = tokenize([Document("cut", "cloud lamp.", None)], tokenizer, None)
    assert whole.sentences.tolist() == [0]


def test_nothing(tmp_path: Path) -> None:
    made = tokenize([Document("0", ""), Document("1", " ")], small_tokenizer(tmp_path), None)
    assert made.tokens.tolist() == []
    assert made.sentences.tolist() == []
    assert made.sentences_of.tolist() == [0, 0]
    assert list(chunks_of([], 0.1)) == []
