"""What a launch would do, as data, and the only way anything outside is done.

A backend plans: files to write and commands to run. `--dry_run` prints the plan; the real thing
writes those files and runs those commands, the same bytes.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dlresearch.errors import Failure, UserError


@dataclass(frozen=True)
class File:
    """A text file to write; its folder is made.

    Attributes:
      shown: what a dry run prints of it, where the content is nothing that people read.
    """

    path: Path
    content: str
    executable: bool = False
    shown: str | None = None

    def write(self) -> None:
        """Replaces what is there at once, so that nobody reads half of it."""
        write_at_once(self.path, self.content)
        if self.executable:
            self.path.chmod(0o755)


@dataclass(frozen=True)
class Plan:
    """Files to write, then commands to run, in order.

    Attributes:
      remarks: for the reader, such as what is only known once a tool was asked.
    """

    files: tuple[File, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """As `--dry_run` prints it: each file whole, each command as a shell would take it."""
        for remark in self.remarks:
            yield f"# {remark}"
        for file in self.files:
            yield f"==> {file.path} <=="
            yield (file.content if file.shown is None else file.shown).rstrip("\n")
            yield ""
        for command in self.commands:
            yield f"$ {shlex.join(command)}"


@dataclass(frozen=True)
class Answer:
    """What a tool said."""

    status: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The line that tells why it failed: the last that is not empty."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1] if lines else f"status {self.status} and no word"


@dataclass(frozen=True)
class Tools:
    """Programs of others: sbatch, gcloud, kubectl, git.

    Attributes:
      environment: in which they run; that of this process by default.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,
        timeout: float = 120,
        check: bool = True,
    ) -> Answer:
        """Run a program to its end, without a shell.

        Raises:
          UserError: it is not installed.
          Failure: it did not answer in time, or (with `check`) ended with another status than 0.
        """
        try:
            done = subprocess.run(
                argv,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
                env=self.environment,
                check=False,
            )
        except FileNotFoundError:
            raise UserError(f"{argv[0]} is not installed here, or not on PATH") from None
        except subprocess.TimeoutExpired:
            raise Failure(f"`{_short(argv)}` gave no answer within {timeout:g} s") from None
        answer = Answer(done.returncode, done.stdout, done.stderr)
        if check and answer.status != 0:
            raise Failure(f"`{_short(argv)}` failed: {answer.reason}")
        return answer

    def has(self, program: str) -> bool:
        """Whether a program is on PATH."""
        return shutil.which(program, path=self.environment.get("PATH")) is not None


def write_at_once(path: Path, content: str) -> None:
    """Write a file that others may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(temporary, 0o666 & ~mask)
    os.replace(temporary, path)


def _short(argv: Sequence[str]) -> str:
    line = shlex.join(argv)
    return line if len(line) <= 80 else f"{line[:77]}..."
