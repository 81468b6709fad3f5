"""Runs one process of a run, keeps what it prints, and writes down how it ended.

    python -m launch.on_host.process --attempt=FOLDER --process=0 [--echo] -- COMMAND ...

The output goes to FOLDER/process-0.log, and to stdout with --echo; the record to
FOLDER/process-0.json. SIGTERM and SIGUSR1 are passed on. The exit status is that of the command, or
128 and the number of the signal that ended it.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from launch.on_host.records import Process

_ERROR = re.compile(r"^(?:error: (?P<said>.*)|(?P<raised>[A-Za-z_][\w.]*(?:Error|Exception)\b.*))$")
_TAIL_BYTES = 65536


def main() -> None:
    """Run what follows `--`, and exit as it did."""
    parser = argparse.ArgumentParser(prog="launch.on_host.process", allow_abbrev=False)
    parser.add_argument("--attempt", type=Path, required=True)
    parser.add_argument("--process", default=os.environ.get("SLURM_PROCID", "0"), type=int)
    parser.add_argument("--echo", action="store_true")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    status = run(asked.attempt, asked.process, asked.command, echo=asked.echo)
    sys.exit(status if status >= 0 else 128 - status)


def run(attempt: Path, number: int, command: list[str], *, echo: bool = False) -> int:
    """Run a command to its end.

    Its output goes into the file directly and through no pipe, which what it leaves behind could
    keep open.

    Returns:
      Its exit status, negative for a signal; 127 where it cannot be started.
    """
    attempt.mkdir(parents=True, exist_ok=True)
    record, log = attempt / f"process-{number}.json", attempt / f"process-{number}.log"
    told: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(signum: int, _frame: FrameType | None) -> None:
        told.append(signum)
        if child is not None and child.poll() is None:
            child.send_signal(signum)

    for signum in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, pass_on)
    # A terminal sends it to the command as well, which decides what it means.
    signal.signal(signal.SIGINT, lambda *_: None)

    process = Process(number, socket.gethostname(), os.getpid(), time.time())
    write_record(record, process)
    with log.open("ab", buffering=0) as output:
        begin = output.tell()
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        except OSError as failure:
            error = f"{command[0]} cannot be started: {failure.strerror}"
            output.write(f"error: {error}\n".encode())
            write_record(record, replace(process, ended=time.time(), exit=127, error=error))
            return 127
    for signum in told:  # before there was a child
        child.send_signal(signum)
    over = threading.Event()
    copying = threading.Thread(target=_copy, args=(log, begin, over), daemon=True)
    if echo:
        copying.start()
    status = child.wait()
    ended = time.time()
    over.set()
    if echo:
        copying.join()
    error = last_error(log) if status else None
    write_record(record, replace(process, ended=ended, exit=status, error=error))
    return status


def write_record(path: Path, process: Process) -> None:
    """At once, so that nobody reads half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(process)) + "\n")
    temporary.replace(path)


def last_error(log: Path) -> str | None:
    """What its end says of an error: a line that begins with `error: `, or that of an exception."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    found = [match for line in lines if (match := _ERROR.match(line.rstrip()))]
    return (found[-1]["said"] or found[-1]["raised"])[:500] if found else None


def _copy(log: Path, begin: int, over: threading.Event) -> None:
    """What is added to a file, to stdout, until it is over."""
    with log.open("rb") as file:
        file.seek(begin)
        while True:
            last = over.is_set()
            while block := file.read(_TAIL_BYTES):
                sys.stdout.buffer.write(block)
                sys.stdout.flush()
            if last:
                return
            over.wait(0.2)


if __name__ == "__main__":
    main()
