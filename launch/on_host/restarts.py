"""Whether a run that ended is started again."""

from dataclasses import dataclass
from pathlib import Path

from launch.on_host.records import (
    MISTAKE_STATUS,
    RESUME_STATUS,
    attempts,
    is_cancelled,
    newest_checkpoint,
)


@dataclass(frozen=True)
class Decision:
    """`again`, and why, for people."""

    again: bool
    why: str


def decide(
    run: Path,
    *,
    max_restarts: int,
    restarts_without_progress: int,
    retry_errors: int,
    exit: int | None = None,
    before: int | None = None,
) -> Decision:
    """What becomes of a run whose newest attempt has ended.

    Args:
      max_restarts: after it was told to stop and saved.
      restarts_without_progress: how often it may start again without a newer checkpoint.
      retry_errors: how often it may start again after a failure.
      exit: status of the attempt, where its processes could not write it down; a signal's number
        is negative.
      before: only attempts with a smaller number count, where the next one has begun already.
    """
    history = [each for each in attempts(run) if before is None or each.number < before]
    # Attempts of before somebody said `restart` were judged then.
    begin = run / "launch" / "restarted_after"
    if begin.exists():
        history = [each for each in history if each.number > int(begin.read_text())]
    status = history[-1].exit if exit is None and history else exit
    if status == 0:
        return Decision(False, "completed")
    if is_cancelled(run):
        return Decision(False, "cancelled")
    if status == MISTAKE_STATUS:
        return Decision(False, "a mistake in what was given is not tried again")
    idle = _without_progress([each.step for each in history], newest_checkpoint(run))
    if idle > restarts_without_progress:
        return Decision(
            False,
            f"started {idle} times without a new checkpoint (--restarts_without_progress)",
        )
    if status == RESUME_STATUS:
        if len(history) > max_restarts:
            return Decision(False, f"it was restarted {max_restarts} times (--max_restarts)")
        return Decision(True, "it was told to stop, and saved")
    failures = sum(each.exit not in (0, RESUME_STATUS) for each in history)
    if failures <= retry_errors:
        return Decision(True, f"failure {failures} of at most {retry_errors} (--retry_errors)")
    return Decision(False, "it failed")


def _without_progress(begins: list[int | None], now: int | None) -> int:
    """How many of the last attempts began where the newest checkpoint still is."""
    idle = 0
    for step in reversed(begins):
        if step != now:
            break
        idle += 1
    return idle
