"""Runs one process of a run in a pod of Kubernetes.

    python -m launch.on_host.pod --run=FOLDER --first=1 --pods=2 ... -- COMMAND ...

As `launch.on_host.process`, and in addition: its exit status tells Kubernetes whether to start all
pods again (75) or to give up; and what the launcher cannot read from outside goes to stdout in
marked lines: the records of all attempts, and from process 0 the metrics, the newest checkpoint and
the result.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launch.on_host import process, records
from launch.on_host.records import MISTAKE_STATUS, RESUME_STATUS
from launch.on_host.restarts import decide

MARK = "@launch "
RESTART_VARIABLE, SLICE_VARIABLE = "LAUNCH_RESTART", "LAUNCH_SLICE"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"  # of a pod in its Job, from Kubernetes
_NEWS_SECONDS = 2.0
_METRICS_BYTES = 200_000  # in one line of a log
# What dlresearch.parallel.watch says of a process that vanished.
_VANISHED = re.compile(r"\bis gone: killed, or its host or network failed\b")


def main() -> None:
    """Run what follows `--`, and exit as Kubernetes is to understand it."""
    asked = _arguments()
    pod = int(os.environ.get(_INDEX_VARIABLE) or 0)
    number = int(os.environ.get(SLICE_VARIABLE) or 0) * asked.pods + pod
    restart = int(os.environ.get(RESTART_VARIABLE) or 0)
    limits = {
        "max_restarts": asked.max_restarts,
        "restarts_without_progress": asked.restarts_without_progress,
        "retry_errors": asked.retry_errors,
    }
    try:
        if asked.directory:
            os.chdir(asked.directory)
        attempt = begin(asked.run, asked.first + restart, number)
        if asked.first > 1:  # earlier attempts were judged when somebody said `restart`
            (asked.run / "launch" / "restarted_after").write_text(str(asked.first - 1))
    except OSError as error:
        print(f"error: {error.filename} cannot be used: {error.strerror}", flush=True)
        sys.exit(MISTAKE_STATUS)
    # A process that was killed with its pod could not judge whether to go on, so it is done here.
    before = int(attempt.name)
    decision = decide(asked.run, **limits, exit=RESUME_STATUS, before=before)
    if restart and not decision.again:
        print(f"error: not started again: {decision.why}", flush=True)
        sys.exit(1)

    is_first = number == 0
    if is_first:
        _tell({"history": history(asked.run, asked.first)})
    news = _News(asked.run)
    over = threading.Event()
    follower = threading.Thread(target=news.follow, args=(over,), daemon=True)
    if is_first:
        follower.start()
    status = process.run(attempt, number, asked.command, echo=True)
    if is_first:
        over.set()
        follower.join()
        news.complete()
        _tell({"history": history(asked.run, asked.first)})
        if (result := asked.run / "result.json").is_file():
            _tell({"result": result.read_text()})
    (mine,) = (each for each in records.read_attempt(attempt).processes if each.process == number)
    _tell({"attempt": int(attempt.name), "record": asdict(mine)})
    sys.exit(_verdict(asked.run, status, mine.error, together=asked.total > 1, limits=limits))


def begin(run: Path, number: int, process_number: int) -> Path:
    """The folder of this attempt, the same for all of its processes; the first makes it.

    Args:
      number: by how often the JobSet was restarted. Whoever has a record there belongs to a later
        attempt: a queue stopped all pods and started them again, which is no restart.
    """
    folder = run / "launch" / "attempts"
    record = f"process-{process_number}.json"
    numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    newest = max(numbers, default=0)
    attempt = folder / str(max(number, newest + (folder / str(newest) / record).exists()))
    try:
        attempt.mkdir(parents=True)
    except FileExistsError:
        return attempt
    step = records.newest_checkpoint(run)
    (attempt / "step").write_text("" if step is None else str(step))
    return attempt


def history(run: Path, first: int) -> list[dict[str, Any]]:
    """The records of attempts from `first` on, as plain data."""
    return [
        {
            "attempt": each.number,
            "step": each.step,
            "processes": [asdict(process) for process in each.processes],
        }
        for each in records.attempts(run)
        if each.number >= first
    ]


def _verdict(
    run: Path, status: int, error: str | None, *, together: bool, limits: Mapping[str, int]
) -> int:
    """The exit status by which Kubernetes starts all pods again, or gives up."""
    follows = together and (status == -6 or bool(_VANISHED.search(error or "")))
    if status == 0 or status == MISTAKE_STATUS:
        return status
    # What a signal killed was not to blame, nor what only followed from another's end.
    counts_as = RESUME_STATUS if status < 0 or follows else status
    decision = decide(run, **limits, exit=counts_as)
    if decision.again:
        return RESUME_STATUS
    if counts_as == RESUME_STATUS:
        print(f"error: not started again: {decision.why}", flush=True)
        return 1
    return status


class _News:
    """Tells of metrics and checkpoints as they come, so that a copy can be made from the log."""

    def __init__(self, run: Path):
        self._run, self._path = run, run / "metrics.jsonl"
        self._checkpoint: int | None = None
        self._sent = 0
        self._digest = hashlib.sha256()

    def follow(self, over: threading.Event) -> None:
        """Until it is over."""
        while not over.wait(_NEWS_SECONDS):
            self._send()

    def complete(self) -> None:
        """The rest; all of it where what was sent is not what is there, as after a restart that
        begins before the last line.
        """
        self._send()
        if self._path.is_file():
            content = self._path.read_bytes()
            if hashlib.sha256(content[: self._sent]).digest() != self._digest.digest():
                self._begin_again()
                self._send()

    def _send(self) -> None:
        step = records.newest_checkpoint(self._run)
        if step is not None and step != self._checkpoint:
            self._checkpoint = step
            _tell({"checkpoint": step})
        if not self._path.is_file():
            return
        if self._path.stat().st_size < self._sent:
            self._begin_again()
        with self._path.open("rb") as file:
            file.seek(self._sent)
            while lines := b"".join(file.readlines(_METRICS_BYTES)):
                whole = lines[: lines.rfind(b"\n") + 1]
                if not whole:
                    return
                _tell({"metrics": whole.decode(errors="replace"), "at": self._sent})
                self._sent += len(whole)
                self._digest.update(whole)

    def _begin_again(self) -> None:
        self._sent, self._digest = 0, hashlib.sha256()


def _tell(what: Mapping[str, Any]) -> None:
    """One marked line; the newlines around it are part of the mark, as it may cut a line of the
    output in two.
    """
    sys.stdout.buffer.write(f"\n{MARK}{json.dumps(what)}\n".encode())
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launch.on_host.pod", allow_abbrev=False)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--directory", default="")
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--total", type=int, required=True)
    parser.add_argument("--max_restarts", type=int, required=True)
    parser.add_argument("--restarts_without_progress", type=int, required=True)
    parser.add_argument("--retry_errors", type=int, required=True)
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    main()
