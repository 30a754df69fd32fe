"""Workers that tokenize: spawned processes, fed and emptied in order.

They are spawned, not forked, so that no lock or thread of this process is inherited, and each holds only its own end
of a pipe: when this process dies, however it dies, they read the end of it and leave.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue

from didact.data.chunks import Chunk, Tokenized, tokenize
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.whole_words import SEGMENTERS, Segmenter

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
    """Processes, and a thread for each that sends to it and waits for its answer (a pipe that both ends write to at
    once would lock up).
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: str | None, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._free: SimpleQueue[Connection] = SimpleQueue()
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, tokenizer, segmenter), daemon=True)
            process.start()
            theirs.close()
            self._free.put(ours)
            self._connections.append(ours)
            self._processes.append(process)
        self._threads = ThreadPoolExecutor(processes)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._processes:
            process.terminate()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process, connection in zip(self._processes, self._connections, strict=True):
            process.join()
            connection.close()

    def submit(self, chunk: Chunk) -> Future[Tokenized]:
        """The chunk's tokens, in the future."""
        return self._threads.submit(self._ask, chunk)

    def _ask(self, chunk: Chunk) -> Tokenized:
        connection = self._free.get()
        try:
            connection.send(chunk.documents)
            answer = connection.recv()
        except (EOFError, OSError) as problem:
            raise RuntimeError("a tokenizing process ended before its work was done (out of memory?)") from problem
        self._free.put(connection)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _work(connection: Connection, tokenizer: Tokenizer, segmenter: str | None) -> None:
    """A worker's life: tokenize what comes until nothing more can come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    os.environ[_THREADS] = "false"
    made: Segmenter | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            documents = connection.recv()
            try:
                made = made or _segmenter(segmenter)
                answer: object = tokenize(documents, tokenizer, made)
            except Exception as error:
                error.add_note("(in a tokenizing process)")
                answer = error
            connection.send(answer)


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
