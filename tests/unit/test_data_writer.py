"""didact.data.writer: appended in order, noted where a document has ended, cut back to the note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_tools import bytes_of

from didact.data.chunks import Chunk, Tokenized
from didact.data.document import Document
from didact.data.stored import path_of
from didact.data.writer import PROGRESS, State, Writer, locked, write_aside
from didact.errors import InputError

SETTINGS: dict[str, Any] = {"of": "a test"}


def tokenized(size: int, seed: int) -> Tokenized:
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 2, size).astype(bool)
    source_bytes = rng.integers(0, 300, size).astype(np.int32)
    sentences = np.unique(np.append(0, rng.integers(0, size, 3))) if size else np.zeros(0, np.int64)
    return Tokenized(
        rng.integers(0, 99, size).astype(np.uint32), starts, source_bytes, sentences, np.array([len(sentences), 0])
    )


def chunk(number: int, closed: bool = True) -> Chunk:
    return Chunk([Document("a", "…"), Document("b", " ")], [bool(number % 2), False], 7, number, f"d{number}", closed)


def parts() -> list[tuple[Chunk, Tokenized]]:
    return [(chunk(i, closed=i != 3), tokenized(size, i)) for i, size in enumerate([5, 3, 0, 8, 21, 1, 2], 1)]


def open_writer(folder: Path) -> Writer:
    return Writer(folder, State.load(folder, SETTINGS), np.dtype("<u2"))


def test_bits_cross_the_borders_of_chunks(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        for c, t in parts():
            writer.write(c, t)
        writer.finish()
    wanted = np.concatenate([t.word_starts for _, t in parts()])
    found = np.fromfile(path_of(tmp_path, "word_starts"), np.uint8)
    assert len(found) == -(-len(wanted) // 8)
    assert np.unpackbits(found, bitorder="little")[: len(wanted)].tolist() == wanted.tolist()
    sizes = np.concatenate([t.source_bytes for _, t in parts()])
    assert np.fromfile(path_of(tmp_path, "source_bytes"), np.uint8).tolist() == np.minimum(sizes, 255).tolist()
    escapes = np.fromfile(path_of(tmp_path, "escapes"), "<i8").reshape(-1, 2)
    assert escapes.tolist() == [[i, n] for i, n in enumerate(sizes.tolist()) if n >= 255]


@pytest.mark.parametrize("stop", range(8))
def test_it_goes_on_from_the_last_note(tmp_path: Path, stop: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    with open_writer(whole) as writer:
        for c, t in parts():
            writer.write(c, t)
        writer.finish()
    with open_writer(broken) as writer:
        for c, t in parts()[:stop]:
            writer.write(c, t)
        writer.save(SETTINGS)
        for c, t in parts()[stop:][:2]:  # written and never noted
            writer.write(c, t)
    with open_writer(broken) as writer:
        assert writer.state.documents_read == (2 if stop == 3 else stop)  # the third chunk ends within a document
        for c, t in parts():
            if c.read > writer.state.documents_read:
                writer.write(c, t)
        writer.finish()
    (broken / PROGRESS).unlink()
    assert bytes_of(whole) == bytes_of(broken)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        writer.save(SETTINGS)
    with pytest.raises(InputError, match="other settings"):
        State.load(tmp_path, {"of": "another"})
    assert json.loads((tmp_path / PROGRESS).read_text())["settings"] == SETTINGS


def test_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match="another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_write_aside_leaves_one_file(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_aside(tmp_path / "note", text)
        assert bytes_of(tmp_path) == {"note": text.encode()}
