"""A worker: a new process that answers what it is sent, both ways in pickles.

It is started afresh: neither forked (no lock or thread of this process comes with it) nor by `multiprocessing` (which
runs the user's script again in it). It reads from a pipe that only this process writes to: when this one dies, however
it dies, the worker comes to its end and leaves.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from typing import Any


class Worker:
    """life: the module whose `serve` it runs; name: what it is called where it dies; environment: None = this one's;
    session: one of its own, which Ctrl-C does not reach.
    """

    def __init__(
        self, life: str, name: str, environment: Mapping[str, str] | None = None, session: bool = False
    ) -> None:
        self.name = name
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {life} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**(os.environ if environment is None else environment), "PYTHONPATH": path},
            start_new_session=session,
        )

    def send(self, message: object) -> None:
        """Raises RuntimeError where it has died."""
        assert self._process.stdin is not None
        with self._alive():
            pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()

    def receive(self) -> Any:
        """Its next answer. Raises what was raised there, and RuntimeError where it has died."""
        assert self._process.stdout is not None
        with self._alive():
            answer = pickle.load(self._process.stdout)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self) -> None:
        """End it, whatever it does, without waiting."""
        self._process.kill()

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.kill()
        with contextlib.suppress(BrokenPipeError), self._process:  # closes the pipes and waits
            pass

    @contextlib.contextmanager
    def _alive(self) -> Generator[None]:
        try:
            yield
        except (EOFError, OSError, pickle.UnpicklingError) as problem:
            raise RuntimeError(f"{self.name} ended before its work was done (out of memory?)") from problem


def pipes() -> tuple[Callable[[], Any], Callable[[object], None]]:
    """In a worker: what it is sent next, EOFError where nothing more can come; and how it answers."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not come among the answers

    def answer(said: object) -> None:
        pickle.dump(said, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()

    return lambda: pickle.load(questions), answer


def serving(begin: Callable[[Any], Callable[[Any], object]], note: str = "") -> None:
    """A worker's life: what it is sent first tells it how to respond (`begin`, at the first question); then an answer
    to each question, until none can come. note: added to what is raised.
    """
    question, answer = pipes()
    respond: Callable[[Any], object] | None = None
    with contextlib.suppress(EOFError, BrokenPipeError):
        given = question()
        while True:
            asked = question()
            try:
                respond = respond or begin(given)
                said = respond(asked)
            except Exception as error:
                if note:
                    error.add_note(note)
                said = error
            answer(said)
