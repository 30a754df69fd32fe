"""Workers that tokenize: new processes, fed and emptied in order."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from didact.data.chunks import Chunk, Tokenized, tokenize
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.whole_words import SEGMENTERS, Segmenter
from didact.worker import Worker, serving

_THREADS = "TOKENIZERS_PARALLELISM"


def ordered(
    chunks: Iterator[Chunk], tokenizer: Tokenizer, segmenter: str | None, processes: int
) -> Generator[tuple[Chunk, Tokenized]]:
    """Every chunk with its tokens, in order, by `processes` workers (in this process where 1 is enough).

    At most two chunks a worker are under way. A worker's error is raised here as it was there.
    """
    first = list(itertools.islice(chunks, processes))
    chunks = itertools.chain(first, chunks)
    if processes <= 1 or len(first) < processes:
        made = _segmenter(segmenter)
        for chunk in chunks:
            with _one_thread():
                tokenized = tokenize(chunk.documents, tokenizer, made)
            yield chunk, tokenized
        return
    with _Workers(tokenizer, segmenter, processes) as workers:
        waiting: deque[tuple[Chunk, Future[Tokenized]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, workers.submit(chunk)))
            if len(waiting) == 2 * processes:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


class _Workers:
    """Processes, and a thread for each that sends to it and waits for its answer (a process that writes while it is
    written to would lock up).
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: str | None, processes: int) -> None:
        self._free: SimpleQueue[Worker] = SimpleQueue()
        environment = {**os.environ, _THREADS: "false"}
        # A session of their own: Ctrl-C is for this process alone, which decides what becomes of them.
        self._workers = [Worker(__name__, "a tokenizing process", environment, True) for _ in range(processes)]
        self._threads = ThreadPoolExecutor(processes)
        for worker in self._workers:
            worker.send((tokenizer, segmenter))
            self._free.put(worker)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def submit(self, chunk: Chunk) -> Future[Tokenized]:
        """The chunk's tokens, in the future."""
        return self._threads.submit(self._ask, chunk)

    def _ask(self, chunk: Chunk) -> Tokenized:
        worker = self._free.get()
        try:
            worker.send(chunk.documents)
            return worker.receive()
        finally:
            self._free.put(worker)  # a dead one too: who waits for one must not wait for ever


def serve() -> None:
    """A worker's life: a tokenizer, then what it is to tokenize. Run by `ordered` in a new process."""

    def begin(given: tuple[Tokenizer, str | None]) -> Callable[[Any], Tokenized]:
        tokenizer, segmenter = given[0], _segmenter(given[1])
        return lambda documents: tokenize(documents, tokenizer, segmenter)

    serving(begin, "(in a tokenizing process)")


def _segmenter(name: str | None) -> Segmenter | None:
    return None if name is None else dict(SEGMENTERS)[name]()


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    """`tokenizers` reads how many threads to use from the environment, each time."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before
