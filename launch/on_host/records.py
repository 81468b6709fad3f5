"""The records that processes leave in a run's folder: when each began, and how it ended."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESUME_STATUS = 75  # dlresearch.preemption: saved, run me again
MISTAKE_STATUS = 2


@dataclass(frozen=True)
class Process:
    """One process of an attempt.

    Attributes:
      started, ended: seconds since 1970 on its host; `ended` is None while it runs, or where it was
        killed together with whoever watched it.
      exit: its status; negative for the signal that ended it.
      error: what it said last that was an error.
    """

    process: int
    host: str
    pid: int
    started: float
    ended: float | None = None
    exit: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Attempt:
    """One start of all processes of a run.

    Attributes:
      step: of the newest checkpoint when it began; None where there was none.
    """

    number: int
    folder: Path
    processes: tuple[Process, ...]
    step: int | None = None

    @property
    def exit(self) -> int | None:
        """Of the whole: None while a process runs; 75 where all could save; else what failed
        first.
        """
        if not self.processes or any(each.exit is None for each in self.processes):
            return None
        statuses = {each.exit for each in self.processes}
        if statuses <= {0, RESUME_STATUS}:
            return RESUME_STATUS if RESUME_STATUS in statuses else 0
        first = first_to_fail(self.processes)
        return first.exit if first else None


def first_to_fail(processes: Sequence[Process]) -> Process | None:
    """The process whose end the others followed.

    The trainer ends all processes with one status and says who was first, so what was killed by a
    signal that nobody of ours sends, or ended otherwise than the rest, comes before what followed.
    """
    failed = [each for each in processes if each.exit not in (None, 0, RESUME_STATUS)]
    # JAX aborts (SIGABRT) where another process is silent: a symptom.
    causes = [each for each in failed if each.exit not in (-6, 134)] or failed
    return min(causes, key=lambda each: (each.ended or 0.0, each.process), default=None)


def attempts(run: Path) -> list[Attempt]:
    """All attempts of a run, oldest first."""
    folders = [path for path in _folder(run).glob("*") if path.name.isdecimal()]
    return [read_attempt(folder) for folder in sorted(folders, key=lambda path: int(path.name))]


def read_attempt(folder: Path) -> Attempt:
    """What its processes have written so far."""
    processes = []
    for path in folder.glob("process-*.json"):
        try:
            processes.append(Process(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue  # being written on a file system that does not rename at once
    step = folder / "step"
    return Attempt(
        int(folder.name),
        folder,
        tuple(sorted(processes, key=lambda each: each.process)),
        int(step.read_text()) if step.exists() and step.read_text() else None,
    )


def new_attempt(run: Path) -> Path:
    """Make the folder of the next attempt, with the step it begins from; nobody else gets it."""
    number = max((each.number for each in attempts(run)), default=0)
    while True:
        number += 1
        folder = _folder(run) / str(number)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        step = newest_checkpoint(run)
        (folder / "step").write_text("" if step is None else str(step))
        return folder


def newest_checkpoint(run: Path) -> int | None:
    """Its step, from the folders that the trainer names by steps, or from a note of whoever stays
    with a run whose checkpoints are elsewhere.
    """
    steps = [int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdecimal()]
    note = run / "launch" / "newest_checkpoint"
    if note.exists():
        steps.append(int(note.read_text()))
    return max(steps, default=None)


def is_cancelled(run: Path) -> bool:
    """Whether somebody asked that it never starts again, or a search gave it up."""
    return any((run / "launch" / name).exists() for name in ("cancelled", "pruned"))


def _folder(run: Path) -> Path:
    return run / "launch" / "attempts"
