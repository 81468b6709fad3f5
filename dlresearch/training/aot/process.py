"""Starts the process that compiles, and says in one line what ended it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dlresearch.errors import Failure, UserError
from dlresearch.hardware import Target
from dlresearch.training.aot.compiler import ENVIRONMENT, check_compiler

_ERROR = "error: "
# A failed check of XLA: `F1130 23:05:11.1 4711 file.cc:627] Check failed: ...`.
_FATAL = re.compile(r"^F\d{4} [\d:.]+ +\d+ (.*)$")


def compile_for(
    text: str,
    target: Target,
    config: str,
    overrides: Sequence[tuple[str, str]],
    figures: Path | None = None,
) -> None:
    """Compile an experiment for a target, printing the report as it becomes known.

    Args:
      text: `target` as the user wrote it.
      figures: file for the figures, as JSON.

    Raises:
      UserError: a mistake in the experiment, or the compiler is not installed.
      Failure: the compiler refused the program, or crashed.
    """
    check_compiler(target)
    request = {
        "target": text,
        "config": config,
        "overrides": list(overrides),
        "figures": None if figures is None else str(figures),
    }
    command = (sys.executable, "-m", "dlresearch.training.aot", json.dumps(request))
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, stderr=errors)
        errors.seek(0)
        said = errors.read().splitlines()
    if done.returncode == 0:
        return
    if done.returncode in (1, 2) and said and said[-1].startswith(_ERROR):
        kind = UserError if done.returncode == 2 else Failure
        raise kind(said[-1].removeprefix(_ERROR))
    if done.returncode > 0:  # a fault of ours
        raise RuntimeError("\n".join(said[-40:]))
    fatal = [found[1] for line in said if (found := _FATAL.match(line))]
    reason = fatal[-1] if fatal else (said[-1] if said else "it said nothing")
    raise Failure(
        f"{config} for {target.label}: the compiler crashed"
        f" ({signal.Signals(-done.returncode).name}): {reason}"
    )
