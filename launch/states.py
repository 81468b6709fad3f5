"""How a run stands: what the scheduler says, and what the run itself left in its folder."""

import signal
from dataclasses import dataclass
from typing import Literal

from launch.backends import Seen
from launch.on_host.records import RESUME_STATUS, Attempt, first_to_fail
from launch.run_folder import RunFolder

State = Literal[
    "unstarted",
    "queued",
    "running",
    "restarting",
    "completed",
    "stopped",
    "failed",
    "cancelled",
    "pruned",
    "lost",
]
FINAL = ("completed", "stopped", "failed", "cancelled", "pruned", "lost")


@dataclass(frozen=True)
class Standing:
    """A run's state, and what a person would ask next: why it waits, or what failed first."""

    state: State
    detail: str = ""
    step: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has completed, which no scheduler can change."""
        return self.state == "completed"

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen by itself."""
        return self.state in FINAL


def standing(run: RunFolder, seen: Seen) -> Standing:
    """How a run stands.

    A record of the run beats a scheduler that does not know it any more.
    """
    result = run.result() or {}
    step = run.progress().get("step", result.get("step"))
    if result.get("status") == "completed" and seen.state not in ("queued", "restarting"):
        return Standing("completed", "", result.get("step"))
    if seen.state in ("queued", "running", "restarting"):
        return Standing(seen.state, seen.detail, step)
    attempts = run.attempts()
    last = attempts[-1] if attempts else None
    if last is not None and last.exit == 0:
        return Standing("completed", "", step)
    if run.cancelled:
        return Standing("pruned" if run.pruned else "cancelled", saved_at(run), step)
    if last is None:
        if not run.submissions():
            return Standing("unstarted")
        if seen.state == "unknown":
            return Standing("lost", "its scheduler does not know it, and it left no record")
        return Standing("failed", seen.detail or "it ended before its first process began")
    if last.exit is None:
        if seen.state == "ended" and seen.detail:
            return Standing("failed", seen.detail, step)
        return Standing("lost", f"attempt {last.number} left no word of its end", step)
    if last.exit == RESUME_STATUS:
        return Standing("stopped", saved_at(run), step)
    return Standing("failed", first_cause(last), step)


def first_cause(attempt: Attempt) -> str:
    """What failed first, in a line."""
    first = first_to_fail(attempt.processes)
    if first is None or first.exit is None:
        return ""
    who = f"process {first.process} on {first.host}"
    if first.exit < 0:
        return f"{who} was killed by {_signal(-first.exit)}"
    if first.error and first.error.startswith("process "):
        return first.error  # the trainer has found out who it was
    return f"{who}: {first.error or f'exit status {first.exit}'}"


def saved_at(run: RunFolder) -> str:
    """Where it would go on."""
    step = run.newest_checkpoint()
    return "nothing is saved" if step is None else f"saved at step {step}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
