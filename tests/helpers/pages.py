"""Files and commands as the documentation shows them, and a way to run the commands."""

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from helpers.processes import ROOT, environment
from helpers.verbs import call

# Enough to see that a documented run works.
TWO_STEPS = "--config.duration=2 steps"


def write_files(page: str, folder: Path) -> None:
    """The Python blocks of a page whose first line names a file, as files."""
    for name, code in re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", _text(page), re.M | re.S):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)


def snippets(page: str) -> list[str]:
    """The Python blocks of a page that are no files."""
    blocks = re.findall(r"^```python\n(.*?)^```", _text(page), re.M | re.S)
    return [block for block in blocks if not re.match(r"# \S+\.py\n", block)]


def commands(page: str) -> list[list[str]]:
    """The lines of the `sh` blocks of a page that call dlresearch."""
    blocks = re.findall(r"^```sh\n(.*?)^```", _text(page), re.M | re.S)
    lines = [shlex.split(line) for line in "\n".join(blocks).splitlines()]
    return [line for line in lines if line[:1] == ["dlresearch"]]


def run(arguments: list[str], folder: Path) -> str:
    """The output of `python ...` in a folder, which has to succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(arguments)}:\n{done.stdout}"
    return done.stdout


def run_command(words: list[str], folder: Path) -> str:
    """The output of `dlresearch VERB ...` in a folder, which has to succeed; training makes two
    steps. Called in this process, which is left as it was.
    """
    _, verb, *flags = words
    with contextlib.chdir(folder), _modules_of(folder):
        answer = call(verb, *flags, *([TWO_STEPS] * (verb == "train")))
    assert answer.status == 0, f"{shlex.join(words)}:\n{answer.out}{answer.err}"
    return answer.out + answer.err


@contextlib.contextmanager
def _modules_of(folder: Path) -> Iterator[None]:
    """Let modules in `folder` be imported, as `python -m` does, and forget them afterwards.

    Not those of a virtual environment, which may be inside the folder.
    """
    known = set(sys.modules)
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        yield
    for name in set(sys.modules) - known:
        file = Path(getattr(sys.modules[name], "__file__", None) or "/")
        if file.is_relative_to(folder) and not file.is_relative_to(sys.prefix):
            del sys.modules[name]


def _text(page: str) -> str:
    return (ROOT / page).read_text()
