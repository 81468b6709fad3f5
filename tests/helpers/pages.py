"""Files and commands as the documentation shows them, and a way to run the commands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from helpers.processes import ROOT, environment

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
    """`dlresearch VERB ...` as `python -m dlresearch.VERB ...`; training makes two steps."""
    _, verb, *flags = words
    return run(["-m", f"dlresearch.{verb}", *flags, *([TWO_STEPS] * (verb == "train"))], folder)


def _text(page: str) -> str:
    return (ROOT / page).read_text()
