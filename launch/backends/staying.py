"""Staying with a run: one at a time, in the foreground or detached, until told to stop."""

import contextlib
import fcntl
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from dlresearch.errors import UserError
from launch.run_folder import RunFolder


@contextlib.contextmanager
def only_one(folder: RunFolder) -> Iterator[IO[str]]:
    """Hold the lock of a run. Processes that it is passed on to hold it, too.

    Raises:
      UserError: somebody else does.
    """
    with _lock_file(folder).open("w") as lock:
        until = time.monotonic() + 1.0  # whoever only looks holds it for a moment, too
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UserError(f"{folder.path} is running already") from None
                time.sleep(0.05)
        yield lock


def is_held(folder: RunFolder) -> bool:
    """Whether somebody stays with a run."""
    try:
        with _lock_file(folder).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def detach(folder: RunFolder, words: Sequence[str] = ()) -> None:
    """Start somebody to stay with a run, who outlives this process.

    Args:
      words: what follows `python -m launch`; without them, those for a single run.
    """
    words = words or ("supervise", str(folder.path))
    folder.launch.mkdir(parents=True, exist_ok=True)
    with (folder.launch / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "launch", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    folder.note_submission({"id": child.pid, "host": socket.gethostname()})
    until = time.monotonic() + 30  # so that whoever asks next learns that it goes on
    while child.poll() is None and not is_held(folder) and time.monotonic() < until:
        time.sleep(0.02)


@contextlib.contextmanager
def told_to_stop() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are added to, in place of ending this process."""
    told: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: told.append(number)) for number in numbers]
    try:
        yield told
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _lock_file(folder: RunFolder) -> Path:
    folder.launch.mkdir(parents=True, exist_ok=True)
    return folder.launch / ".lock"
