"""didact.data.workers: in order, as it was raised, light to start, and gone when they should be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from data_tools import made_up_documents, small_tokenizer

from didact.data import chunks, workers
from didact.data.chunks import Chunk, chunks_of
from didact.data.document import Document
from didact.data.workers import ordered


def some_chunks(count: int = 60) -> list[Chunk]:
    return list(chunks_of([(i, "", d) for i, d in enumerate(made_up_documents(count), 1)], 0.1))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 1000)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_chunk_comes_back_in_order(tmp_path: Path, processes: int) -> None:
    given = some_chunks()
    assert len(given) > 8
    back = list(ordered(iter(given), small_tokenizer(tmp_path), None, processes))
    assert [c for c, _ in back] == given
    for chunk, tokenized in back:
        alone = chunks.tokenize(chunk.documents, small_tokenizer(tmp_path), None)
        assert np.array_equal(alone.tokens, tokenized.tokens)
        assert np.array_equal(alone.sentences, tokenized.sentences)


def test_few_chunks_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(workers, "_Workers")
    given = some_chunks()[:2]
    assert [c for c, _ in ordered(iter(given), small_tokenizer(tmp_path), None, 4)] == given


def test_only_a_few_are_under_way(tmp_path: Path) -> None:
    taken = []

    def noting():
        for chunk in some_chunks(200):
            taken.append(chunk)
            yield chunk

    made = ordered(noting(), small_tokenizer(tmp_path), None, 2)
    for number, _ in enumerate(islice(made, 10), 1):
        assert len(taken) <= number + 4
    made.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_comes_as_it_is(tmp_path: Path, processes: int) -> None:
    given = some_chunks()
    wrong = Document("wrong", "river", 5)  # type: ignore[arg-type]
    given[3].documents.append(wrong)
    with pytest.raises(TypeError, match="iterable"):
        list(ordered(iter(given), small_tokenizer(tmp_path), None, processes))


def test_a_dead_worker_is_said(tmp_path: Path) -> None:
    made = ordered(iter(some_chunks(200)), small_tokenizer(tmp_path), None, 2)
    next(made)
    for pid in children(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="ended before its work was done"):
        list(made)


def test_they_start_without_torch() -> None:
    check = "import sys, didact.data.workers; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    assert subprocess.run([sys.executable, "-c", check], env=environment, check=False).returncode == 0


SCRIPT = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from test_data_workers import chunks, ordered, small_tokenizer, some_chunks
chunks.CHUNK = 1000
for _ in ordered(iter(some_chunks(200)), small_tokenizer(Path({folder!r})), None, 2):
    print("made", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_they_die_with_their_parent(tmp_path: Path) -> None:
    path = [str(Path(__file__).parent), *sys.path]
    script = SCRIPT.format(path=path, folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        own = children(process.pid)
        assert len(own) == 2
        process.kill()
    end = time.monotonic() + 20
    while any(alive(pid) for pid in own) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in own)


def children(parent: int) -> list[int]:
    """The processes that this one started, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
