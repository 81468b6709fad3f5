"""`python -m launch` as a user calls it, in a repository of the user's own."""

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

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
    """Digits, of which one process reads 400 and then goes wrong, once in a run."""

    def __init__(self, split: str, fault: str = "", process: int = 1, mark: str = ""):
        self.digits, self.fault, self.mark = Digits(split), fault, Path(mark)
        self.metadata = self.digits.metadata
        self.is_it = os.environ.get("JAX_PROCESS_ID", "0") == str(process)
        self.given = 0

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        self.given += 1
        if self.fault and self.is_it and self.given > 400 and not self.mark.exists():
            self.mark.touch()
            if self.fault == "raise":
                raise ZeroDivisionError("made to fail")
            if self.fault == "hang":
                time.sleep(3600)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.digits[index]
'''

EVEN = SMALL.replace("batch_size=359", "batch_size=360")  # for two and four processes

FAULTY = EVEN.replace(
    "    return config",
    """    config.duration = 80
    config.data.source = component("lab:Faulty", split="train")
    config.data.placement = "streamed"
    config.checkpoint.every = 4
    return config""",
)


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
    """That of the tests, in which both packages are found from any folder."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(":"),
        **more,
    }


def start(*words: str, cwd: Path, **variables: str) -> "subprocess.Popen[str]":
    """`python -m launch WORDS ...` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "launch", *words],
        cwd=cwd,
        env=environment(**variables),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def call(*words: str, cwd: Path, seconds: float = 120, **variables: str) -> Answer:
    """The same, to its end."""
    process = start(*words, cwd=cwd, **variables)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(process.communicate()) from None
    return Answer(process.returncode, out, err)


def status(*folders: Path, cwd: Path, **variables: str) -> list[dict]:
    """What `status --json` says."""
    answer = call("status", "--json", *map(str, folders), cwd=cwd, **variables)
    assert answer.err == "", answer
    return [json.loads(line) for line in answer.out.splitlines()]


def await_state(folder: Path, *states: str, cwd: Path, seconds: float = 60, **variables: str):
    """Until a run is in one of some states; returns what `status` says."""
    until = time.monotonic() + seconds
    while True:
        (found,) = status(folder, cwd=cwd, **variables)
        if found["state"] in states:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.3)


def await_that(condition, seconds: float = 60) -> None:
    """Until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def say(*words: str) -> Answer:
    """`python -m launch WORDS ...` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(words)
    return Answer(int(end.value.code or 0), out.getvalue(), err.getvalue())
