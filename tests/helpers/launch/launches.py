"""`python -m launch` as a user calls it, in a repository of the user's own."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from helpers.processes import ROOT
from helpers.verbs import SMALL, Answer
from launch.cli import main

LAB = '''
import os
import signal
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from dlresearch.data.embedded import Digits


class Faulty:
    """Digits, of which one process goes wrong once a checkpoint is saved, once in a run."""

    def __init__(self, split: str, fault: str = "", saved: str = "", mark: str = ""):
        self.digits, self.fault = Digits(split), fault
        self.saved, self.mark = Path(saved), Path(mark)
        self.metadata = self.digits.metadata
        self.is_it = os.environ.get("JAX_PROCESS_ID") == "1"

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        if self.fault and self.is_it and not self.mark.exists() and self.is_saved():
            self.mark.touch()
            if self.fault == "raise":
                raise ZeroDivisionError("made to fail")
            if self.fault == "hang":
                time.sleep(3600)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.digits[index]

    def is_saved(self):
        return any(path.name.isdecimal() for path in self.saved.glob("*"))
'''

EVEN = SMALL.replace("batch_size=359", "batch_size=360")  # for two and three processes

FAULTY = EVEN.replace(
    "    return config",
    """    config.duration = 80
    config.data.source = component("lab:Faulty", split="train")
    config.data.placement = "streamed"
    config.checkpoint.every = 8
    return config""",
)


TRAINER = Path(__file__).with_name("quick_trainer.py")


def quick_python(folder: Path) -> Path:
    """Make a Python for `--python` that runs quick_trainer.py in place of `dlresearch.train`."""
    program = folder / "quick-python"
    program.write_text(
        "#!/bin/sh\n"
        f'[ "$2" = dlresearch.train ] && exec "{sys.executable}" -S "{TRAINER}" "$@"\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    program.chmod(0o755)
    return program


def make_repository(folder: Path) -> Path:
    """A git repository with a small experiment, `digits.py`, one that can fail, `faulty.py`, and a
    folder that git ignores.
    """
    folder.mkdir(parents=True)
    (folder / "digits.py").write_text(EVEN)
    (folder / "faulty.py").write_text(FAULTY)
    (folder / "lab.py").write_text(LAB)
    (folder / ".gitignore").write_text("ignored/\n__pycache__/\n")
    (folder / "ignored").mkdir()
    (folder / "ignored/data.csv").write_text("a,b\n1,2\n")
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    """Return the environment of the tests, in which both packages are found from any folder."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(":"),
        **more,
    }


def compilation_variables() -> dict[str, str]:
    """Return the variables by which training on CPU compiles as quickly as in these tests.

    For machines of doubles, which have an environment of their own.
    """
    names = (
        *("JAX_PLATFORMS", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    )
    return {name: os.environ[name] for name in names if name in os.environ}


def start(*words: str, cwd: Path, **variables: str) -> "subprocess.Popen[str]":
    """Start `python -m launch WORDS ...` in a folder, as a process that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "launch", *words],
        cwd=cwd,
        env=environment(**variables),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def call(*words: str, cwd: Path, seconds: float = 240, **variables: str) -> Answer:
    """Return the answer of `python -m launch WORDS ...`, called in this process in a folder.

    Much cheaper than `start`, as importing what checks an experiment takes seconds.

    Raises:
      AssertionError: it has not ended after so many seconds.
    """
    variables = environment(**variables)
    with contextlib.chdir(cwd), mock.patch.dict(os.environ, variables), _at_most(seconds):
        return say(*words)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def give_up(*_):
        raise AssertionError(f"not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def status(*folders: Path, cwd: Path, **variables: str) -> list[dict]:
    """Return what `status --json` says."""
    answer = call("status", "--json", *map(str, folders), cwd=cwd, **variables)
    assert answer.err == "", answer
    return [json.loads(line) for line in answer.out.splitlines()]


def await_state(folder: Path, *states: str, cwd: Path, seconds: float = 120, **variables: str):
    """Until a run is in one of some states; returns what `status` says."""
    until = time.monotonic() + seconds
    while True:
        (found,) = status(folder, cwd=cwd, **variables)
        if found["state"] in states:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.1)


def await_that(
    condition: Callable[[], Any],
    seconds: float = 120,
    *,
    facts: Callable[[], Any] = lambda: "",
    pause: float = 0.05,
) -> None:
    """Wait until `condition()` is true, which is looked at every `pause` seconds.

    Raises:
      AssertionError: it is not after so many seconds; shows what `facts` returns.
    """
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not so after {seconds} s: {facts()}"
        time.sleep(pause)


def say(*words: str) -> Answer:
    """Return the answer of `python -m launch WORDS ...`, called in this process as it stands."""
    out, err = io.StringIO(), io.StringIO()
    path = list(sys.path)
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main(words)
    finally:
        sys.path[:] = path  # to which the folder of an experiment is added
    return Answer(int(end.value.code or 0), out.getvalue(), err.getvalue())
