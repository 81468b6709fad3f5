"""How processes end, whose end came first, and whether a run starts again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.on_host.process import last_error, write_record
from launch.on_host.records import Process, attempts, first_to_fail, new_attempt
from launch.on_host.restarts import decide

WATCHED = [sys.executable, "-m", "launch.on_host.process"]
ROOT = Path(__file__).parents[2]


def watch(attempt: Path, *command: str, **options) -> "subprocess.Popen[bytes]":
    words = [*WATCHED, f"--attempt={attempt}", "--process=3", "--echo", "--", *command]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, **options)


def record(attempt: Path) -> dict:
    return json.loads((attempt / "process-3.json").read_text())


@pytest.mark.parametrize(
    ("code", "status", "exit", "error"),
    [
        ("print('fine')", 0, 0, None),
        ("import sys; print('error: no disk'); sys.exit(7)", 7, 7, "no disk"),
        ("1 / 0", 1, 1, "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", 137, -9, None),
    ],
)
def test_the_record_says_how_a_process_ended(tmp_path, code, status, exit, error):
    begin = time.time()
    process = watch(tmp_path / "1", sys.executable, "-c", code)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == status
    assert (tmp_path / "1/process-3.log").read_bytes() == out
    found = record(tmp_path / "1")
    assert (found["exit"], found["error"]) == (exit, error)
    assert found["ended"] >= found["started"] >= begin


def test_a_command_that_there_is_not(tmp_path):
    process = watch(tmp_path / "1", "no-such-program", "x")
    process.communicate(timeout=120)
    assert process.returncode == 127
    assert record(tmp_path / "1")["error"].startswith("no-such-program cannot be started")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_command(tmp_path, number):
    code = "import signal, sys, time\n"
    code += f"signal.signal({int(number)}, lambda *_: sys.exit(75))\n"
    code += "print('up', flush=True)\ntime.sleep(3600)"
    process = watch(tmp_path / "1", sys.executable, "-c", code)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    process.send_signal(number)
    assert process.wait(timeout=120) == 75
    assert record(tmp_path / "1")["exit"] == 75


def test_what_a_command_leaves_behind_keeps_nobody_waiting(tmp_path):
    """A worker that still has the output open, as those of a data loader may have."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '3600']).pid)"
    process = watch(tmp_path / "1", sys.executable, "-c", code)
    assert process.wait(timeout=120) == 0
    os.kill(int((tmp_path / "1/process-3.log").read_text()), signal.SIGKILL)  # it is alive still


def test_the_last_error_of_a_long_log(tmp_path):
    lines = ["error: the first"] * 9000 + ["error: the second", "ValueError: third", "  at x"]
    (tmp_path / "log").write_text("\n".join(lines))
    assert last_error(tmp_path / "log") == "ValueError: third"


def process(number: int, exit: int | None, ended: float) -> Process:
    return Process(number, "n1", 1, 0.0, ended, exit)


@pytest.mark.parametrize(
    ("processes", "first"),
    [
        ([process(0, 1, 9.0), process(1, -9, 5.0)], 1),
        ([process(0, -6, 1.0), process(1, 1, 5.0)], 1),  # an abort is what follows
        ([process(0, 134, 2.0), process(1, -6, 1.0)], 1),  # unless there is nothing else
        ([process(0, 75, 1.0), process(1, 3, 5.0)], 1),
        ([process(0, 0, 1.0), process(1, 0, 1.0)], None),
    ],
)
def test_who_failed_first(processes, first):
    found = first_to_fail(processes)
    assert (found.process if found else None) == first


def run_with(folder: Path, *history: tuple[int, int | None]) -> Path:
    """A run whose attempts ended with a status, with the newest checkpoint after each."""
    for exit, step in history:
        attempt = new_attempt(folder)
        write_record(attempt / "process-0.json", process(0, exit, 1.0))
        if step is not None:
            (folder / f"checkpoints/{step}").mkdir(parents=True, exist_ok=True)
    return folder


LIMITS = {"max_restarts": 3, "restarts_without_progress": 1, "retry_errors": 1}


@pytest.mark.parametrize(
    ("history", "again", "why"),
    [
        ([(0, 10)], False, "completed"),
        ([(75, 10)], True, "saved"),
        ([(75, 10), (75, 20), (75, 30)], True, "saved"),
        ([(75, 10), (75, 20), (75, 30), (75, 40)], False, "--max_restarts"),
        ([(75, None)], True, "saved"),
        ([(75, None), (75, None)], False, "--restarts_without_progress"),
        ([(75, 10), (75, 10), (75, 10)], False, "--restarts_without_progress"),
        ([(75, 10), (75, 10), (75, 20)], True, "saved"),
        ([(1, 10)], True, "--retry_errors"),
        ([(1, 10), (75, 20), (1, 30)], False, "failed"),
        ([(2, 10)], False, "a mistake"),
    ],
)
def test_what_starts_again(tmp_path, history, again, why):
    decision = decide(run_with(tmp_path, *history), **LIMITS)
    assert decision.again == again and why in decision.why


@pytest.mark.parametrize("word", ["cancelled", "pruned"])
def test_what_was_cancelled_stays_dead(tmp_path, word):
    run_with(tmp_path, (75, 10))
    (tmp_path / "launch" / word).touch()
    assert not decide(tmp_path, **LIMITS).again


def test_two_that_begin_at_once_get_attempts_of_their_own(tmp_path):
    first, second = new_attempt(tmp_path), new_attempt(tmp_path)
    assert (first.name, second.name) == ("1", "2")
    assert [each.number for each in attempts(tmp_path)] == [1, 2]
