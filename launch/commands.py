"""The command lines of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.options import environment

# Runs lines that the site needs and then the command, which no shell reads: it is the arguments.
_AFTER_SETUP = 'set -e\n{lines}\nexec "$@"'


def watched(
    options: Mapping[str, Any],
    attempt: Path | str,
    process: int | None,
    command: Sequence[str],
    *,
    echo: bool = False,
) -> tuple[str, ...]:
    """A command under the eyes of `launch.on_host.process`.

    Args:
      attempt: folder of the attempt, on the machine where it runs.
      process: its number; None where Slurm gives it.
    """
    return (
        options["python"],
        "-m",
        "launch.on_host.process",
        f"--attempt={attempt}",
        *([] if process is None else [f"--process={process}"]),
        *(["--echo"] if echo else []),
        "--",
        *command,
    )


def prepared(
    options: Mapping[str, Any], command: Sequence[str], more: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """A command after the setup lines of the site, with the variables that were asked for.

    Args:
      more: variables that the backend adds.
    """
    pairs = {**environment(options["env"]), **(more or {})}
    words = tuple(command)
    if pairs:
        words = ("env", *(f"{name}={value}" for name, value in pairs.items()), *words)
    if options["setup"]:
        words = (
            "bash",
            "-c",
            _AFTER_SETUP.format(lines="\n".join(options["setup"])),
            "bash",
            *words,
        )
    return words
