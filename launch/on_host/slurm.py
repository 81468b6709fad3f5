"""Runs in the batch script of a Slurm job, and has the job start again where that is due.

    python -m launch.on_host.slurm FILE NUMBER

FILE is what `launch.backends.slurm_script.task_file` wrote, NUMBER says which of its runs this is.
The job requeues itself, by `scontrol requeue`, after its run was told to stop and saved: before the
time limit, and where a job of higher priority needs the nodes. Slurm requeues it where a node
failed, or saving took too long; then this begins anew, and keeps the limits on starting again.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.on_host.process import last_error, write_record
from launch.on_host.records import (
    RESUME_STATUS,
    Process,
    attempts,
    first_to_fail,
    is_cancelled,
    new_attempt,
    read_attempt,
)
from launch.on_host.restarts import Decision, decide

_POLL_SECONDS = 2.0
# For records that other nodes wrote, on a file system that shows them late.
_RECORDS_SECONDS = 5.0


def main() -> None:
    """Run it, and exit as it did, or have it queued again."""
    # Slurm tells this script as well; the processes decide what it means.
    signal.signal(signal.SIGTERM, lambda *_: None)
    asked = json.loads(Path(sys.argv[1]).read_text())
    run = asked["runs"][sys.argv[2]]
    folder, command = Path(run["folder"]), run["command"]
    count = asked["nodes"] * asked["tasks_per_node"]
    if is_cancelled(folder):
        _say("it was cancelled while it waited")
        return
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0:
        for before in attempts(folder)[-1:]:
            _complete(before.folder, count, "Slurm took its nodes before it had saved")
        # Whoever requeued it, it was not because of something that the run did.
        decision = _decide(folder, asked, RESUME_STATUS)
        if not decision.again:
            _say(f"it does not start again: {decision.why}")
            sys.exit(RESUME_STATUS)
    status = _attempt(folder, command, count, asked)
    decision = _decide(folder, asked, status)
    _say(f"status {status}: {decision.why}")
    if decision.again:
        _requeue(folder)
    sys.exit(status if status >= 0 else 128 - status)


def _attempt(folder: Path, command: Sequence[str], count: int, asked: Mapping[str, Any]) -> int:
    """Start all processes and wait for all of them; returns the status of the whole."""
    attempt = new_attempt(folder)
    # Said again, as srun takes not all of it from the job: newer ones not --cpus-per-task.
    srun = subprocess.Popen(
        [
            "srun",
            f"--nodes={asked['nodes']}",
            f"--ntasks={count}",
            f"--ntasks-per-node={asked['tasks_per_node']}",
            *([f"--cpus-per-task={asked['cpus_per_task']}"] if asked["cpus_per_task"] else []),
            "--export=ALL",
            "--input=none",
            "--kill-on-bad-exit=1",
            "--wait=0",
            sys.executable,
            "-m",
            "launch.on_host.slurm_task",
            str(attempt),
            *command,
        ]
    )
    _wait(srun, folder, asked["grace"])
    if srun.returncode == 0:  # all of them are done, or all have saved
        saved = [each.exit == RESUME_STATUS for each in read_attempt(attempt).processes]
        return RESUME_STATUS if any(saved) else 0
    _await_records(attempt, count)
    first = first_to_fail(_complete(attempt, count))
    return (first and first.exit) or srun.returncode


def _wait(srun: "subprocess.Popen[bytes]", folder: Path, grace: float) -> None:
    """Until it ends, which is made sure of once the run is cancelled."""
    kill_at: float | None = None
    while True:
        try:
            srun.wait(_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            pass
        if kill_at is None and is_cancelled(folder):
            kill_at = time.monotonic() + grace
            _ask("scancel", "--signal=TERM", _job())
        if kill_at is not None and time.monotonic() > kill_at:
            _ask("scancel", "--signal=KILL", _job())
            kill_at = time.monotonic() + grace


def _await_records(attempt: Path, count: int) -> None:
    """Until all processes have written down their end, or it is clear that some were killed."""
    until = time.monotonic() + _RECORDS_SECONDS
    while time.monotonic() < until:
        ends = [each.exit for each in read_attempt(attempt).processes]
        if len(ends) == count and None not in ends:
            return
        time.sleep(0.2)


def _complete(attempt: Path, count: int, error: str | None = None) -> Sequence[Process]:
    """The records of all processes, also of those that were killed and could not write their
    end.
    """
    known = {each.process: each for each in read_attempt(attempt).processes}
    now = time.time()
    for number in range(count):
        record = known.get(number) or Process(number, "", 0, now)
        if record.exit is None:
            log = attempt / f"process-{number}.log"
            said = last_error(log) if log.exists() else None
            record = replace(record, ended=now, exit=-signal.SIGKILL, error=said or error)
            write_record(attempt / f"process-{number}.json", record)
    return read_attempt(attempt).processes


def _decide(folder: Path, asked: Mapping[str, Any], status: int) -> Decision:
    return decide(
        folder,
        max_restarts=asked["max_restarts"],
        restarts_without_progress=asked["restarts_without_progress"],
        retry_errors=asked["retry_errors"],
        exit=status,
    )


def _requeue(folder: Path) -> None:
    """Have the job start again, unless somebody ends it: requeued, it would come back to life."""
    job = _job()
    state = _ask("squeue", "--noheader", f"--jobs={job}", "--format=%T")
    if state != "RUNNING":
        _say(f"Slurm says {state or 'nothing'}: whoever ends it decides whether it starts again")
    elif is_cancelled(folder):
        _say("it was cancelled")
    else:
        _ask("scontrol", "requeue", job)


def _job() -> str:
    """This job. The number of an array's element alone can be that of the whole array."""
    element = os.environ.get("SLURM_ARRAY_TASK_ID")
    if element is None:
        return os.environ["SLURM_JOB_ID"]
    return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{element}"


def _ask(*argv: str) -> str:
    """What a command of Slurm's prints; what it says is wrong goes to this job's output."""
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def _say(what: str) -> None:
    print(f"launch: {what}", flush=True)


if __name__ == "__main__":
    main()
