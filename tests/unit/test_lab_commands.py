"""Commands side by side: order, failures by exit code, interruptions that are passed on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from didact.errors import InputError, Interrupted, NotANumber
from didact.lab.commands import Command, didact, failure, last_line, run_all


def silent(_line: str) -> None:
    pass


def script(folder: Path, name: str, text: str) -> Command:
    """A command of Python text; `made` in it is the file that it is to make."""
    made = folder / f"{name}.made"
    return Command(name, ("-c", f"from pathlib import Path; made = Path({str(made)!r})\n{text}"), folder / name, made)


def test_all_are_carried_out_and_timed(tmp_path: Path) -> None:
    commands = [script(tmp_path, name, f"made.write_text({name!r}); print('said', {name!r})") for name in "abc"]
    shown: list[str] = []
    began = time.monotonic()
    seconds = run_all(commands, 2, shown.append)
    took = time.monotonic() - began
    assert set(seconds) == {"a", "b", "c"}
    assert min(seconds.values()) > 0
    assert min(seconds["a"], seconds["b"]) + seconds["c"] <= took, "c had to wait for one of the others"
    assert [c.made.read_text() for c in commands] == ["a", "b", "c"]
    assert last_line(tmp_path / "b") == "said b"
    assert "(+ 1 to come)" in shown[0]


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (2, 2)])
def test_no_more_than_asked_at_once(tmp_path: Path, at_once: int, most: int) -> None:
    text = "import time; a = time.time(); time.sleep(0.7); made.write_text(f'{a} {time.time()}')"
    commands = [script(tmp_path, name, text) for name in "ab"]
    run_all(commands, at_once, silent)
    (begin_a, end_a), (begin_b, end_b) = (map(float, c.made.read_text().split()) for c in commands)
    overlap = begin_b < end_a and begin_a < end_b
    assert overlap == (most == 2)


def test_two_at_once_have_places_of_their_own(tmp_path: Path) -> None:
    text = "import os, time; time.sleep(0.7); made.write_text(os.environ['PLACE'])"
    commands = [script(tmp_path, name, text) for name in "abcd"]
    run_all(commands, 2, silent, places=[{"PLACE": "left"}, {"PLACE": "right"}])
    found = [c.made.read_text() for c in commands]
    assert sorted(found[:2]) == sorted(found[2:]) == ["left", "right"]


def test_somebody_else_sees_to_failures(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    commands = [script(tmp_path, name, f"import sys; sys.exit({code})") for name, code in (("a", 2), ("b", 0))]
    begun: list[str] = []
    run_all(commands, 1, silent, lambda c: begun.append(c.name), lambda c, _, code: told.append((c.name, code)))
    assert begun == ["a", "b"]
    assert told == [("a", 2), ("b", 0)]


@pytest.mark.parametrize(("code", "kind"), [(2, InputError), (3, NotANumber), (1, RuntimeError), (130, Interrupted)])
def test_what_an_exit_code_means(tmp_path: Path, code: int, kind: type[Exception]) -> None:
    failing = script(tmp_path, "failing", f"import sys; print('no such file'); sys.exit({code})")
    with pytest.raises(kind) as raised:
        run_all([failing], 1, silent)
    assert type(raised.value) is kind
    if code != 130:
        assert str(raised.value) == f"failing: no such file ({tmp_path / 'failing'})"


def test_a_failure_ends_the_others_and_starts_no_more(tmp_path: Path) -> None:
    began = time.monotonic()
    slow = script(tmp_path, "slow", "import time; time.sleep(60); made.write_text('')")
    failing = script(tmp_path, "failing", "import sys; sys.exit(2)")
    later = script(tmp_path, "later", "made.write_text('')")
    with pytest.raises(InputError):
        run_all([slow, failing, later], 2, silent)
    assert time.monotonic() - began < 30
    assert not slow.made.exists()
    assert not later.made.exists()


WAITS = """
import signal, sys, time
count = []
def note(number, frame):
    count.append(number)
signal.signal(signal.SIGINT, note)
Path({ready!r}).write_text("")
for _ in range(600):
    time.sleep(0.05)
    if count:
        time.sleep(0.5)  # what saving takes; a second signal would come in here
        made.write_text(str(len(count)))
        sys.exit(130)
"""

OUTER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_lab_commands import WAITS, script, silent
from didact.errors import Interrupted
from didact.lab.commands import run_all
folder = Path({folder!r})
command = script(folder, "waits", WAITS.format(ready=str(folder / "ready")))
try:
    run_all([command], 1, silent)
except Interrupted as told:
    print(told)
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("whole_group", [True, False], ids=["a terminal's Ctrl-C", "one process is told"])
def test_an_interruption_reaches_every_command_once(tmp_path: Path, whole_group: bool) -> None:
    import os

    text = OUTER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    outer = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, start_new_session=True)
    with outer:
        for _ in range(600):
            if (tmp_path / "ready").exists():
                break
            time.sleep(0.05)
        assert (tmp_path / "ready").exists()
        if whole_group:
            os.killpg(outer.pid, signal.SIGINT)
        else:
            outer.send_signal(signal.SIGTERM)
        said, _ = outer.communicate(timeout=30)
    assert outer.returncode == 130
    assert said.strip() == "stopped; the same command goes on from there"
    assert (tmp_path / "waits.made").read_text() == "1"


def test_an_interruption_while_the_last_command_ends_is_heard(tmp_path: Path) -> None:
    """Else the next stage would begin."""

    def ended(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        run_all([script(tmp_path, "one", "made.touch()")], 1, silent, ended=ended)


def test_the_command_as_a_user_types_it(tmp_path: Path) -> None:
    command = didact("store", "prepare", tmp_path / "a", "--out", "b", log=tmp_path / "log", made=tmp_path, threads=1)
    assert command.arguments == ("-m", "didact", "prepare", str(tmp_path / "a"), "--out", "b")
    assert command.env == (("OMP_NUM_THREADS", "1"),)


def test_the_last_line_is_shortened_and_may_be_missing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == "…"
    log.write_text("first\nsecond " + "x" * 300 + "\n\n  \n")
    assert last_line(log) == ("second " + "x" * 300)[:160]


def test_a_failure_names_the_log(tmp_path: Path) -> None:
    command = Command("one", (), tmp_path / "one.log", tmp_path / "made")
    assert str(failure(command, 1)) == f"one: … ({tmp_path / 'one.log'})"
