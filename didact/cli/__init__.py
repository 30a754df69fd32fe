"""The command line: a few related verbs a file; nothing is decided here that `didact.runs` could decide.

Kept light: `didact --help` imports neither torch nor any reader.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The `didact` command: run a verb, and turn what went wrong into one line and an exit code.

    0 done · 2 the input is wrong · 3 stopped by NaN · 130 interrupted and saved · 1 a bug, with its traceback; or,
    without a word, nobody reads the output any more (`| head`; click sees to that).
    """
    from didact.training.environment import prepare_environment

    prepare_environment()  # before anything loads torch
    from didact.cli.app import app
    from didact.errors import InputError, Interrupted, NotANumber

    codes: list[tuple[type[BaseException], int]] = [(InputError, 2), (NotANumber, 3), (Interrupted, 130)]
    try:
        app()
    except tuple(kind for kind, _ in codes) as problem:
        print(f"didact: {problem}", file=sys.stderr)
        sys.exit(next(code for kind, code in codes if isinstance(problem, kind)))
    except KeyboardInterrupt:
        print("didact: interrupted", file=sys.stderr)
        sys.exit(130)
