"""Workers that tokenize: new processes, fed and emptied in order.

They are started afresh, neither forked (no lock or thread of this process comes with them) nor by `multiprocessing`
(which runs the user's script again in each of them). They read from a pipe that only this process writes to: when it
dies, however it dies, they come to its end and leave.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
    """Processes, and a thread for each that sends to it and waits for its answer (a process that writes while it is
    written to would lock up).
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: str | None, processes: int) -> None:
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self._free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, _THREADS: "false"},
                start_new_session=True,  # Ctrl-C is for this process alone: it decides what becomes of them
            )
            for _ in range(processes)
        ]
        self._threads = ThreadPoolExecutor(processes)
        for process in self._processes:
            _send(process, (tokenizer, segmenter))
            self._free.put(process)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError), process:  # closes the pipes and waits
                pass

    def submit(self, chunk: Chunk) -> Future[Tokenized]:
        """The chunk's tokens, in the future."""
        return self._threads.submit(self._ask, chunk)

    def _ask(self, chunk: Chunk) -> Tokenized:
        process = self._free.get()
        assert process.stdout is not None
        try:
            _send(process, chunk.documents)
            answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as problem:
            raise RuntimeError("a tokenizing process ended before its work was done (out of memory?)") from problem
        finally:
            self._free.put(process)  # a dead one too: who waits for one must not wait for ever
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _send(process: subprocess.Popen[bytes], message: object) -> None:
    assert process.stdin is not None
    pickle.dump(message, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
    process.stdin.flush()


def serve() -> None:
    """A worker's life: tokenize what comes in until nothing more can come. Run by `ordered` in a new process."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not come among the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        tokenizer, segmenter = pickle.load(questions)
        made: Segmenter | None = None
        while True:
            documents = pickle.load(questions)
            try:
                made = made or _segmenter(segmenter)
                answer: object = tokenize(documents, tokenizer, made)
            except Exception as error:
                error.add_note("(in a tokenizing process)")
                answer = error
            pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()


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
