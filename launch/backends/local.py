"""Processes on this machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from dlresearch.errors import UserError
from launch.backends import Finding, Seen
from launch.backends.gpus import hold_gpus
from launch.backends.staying import detach, is_held, only_one, told_to_stop
from launch.commands import prepared, watched
from launch.job import Job, Run
from launch.on_host.process import last_error, write_record
from launch.on_host.records import RESUME_STATUS, Process, read_attempt
from launch.on_host.restarts import decide
from launch.options import Option
from launch.plan import Plan, Tools
from launch.run_folder import RunFolder

_POLL_SECONDS = 0.2
# The trainer ends all its processes when one fails, and says who was first: let it.
_LAST_WORDS_SECONDS = 15.0
_PORTS = range(20000, 32000)  # below those that Linux gives to whoever asks for any


class Local:
    """N processes of one run, joined by `JAX_COORDINATOR_ADDRESS`."""

    name = "local"
    options = (
        Option("processes", int, 1, "Processes of the run on this machine.", lower=1),
        Option("gpus", int, None, "GPUs that a run gets for itself, shared evenly by its processes;"
               " it waits until so many are free. Without it, a run sees all of them.", lower=1),
    )  # fmt: skip
    arrays = False
    defaults: Mapping[str, Any] = {"python": sys.executable}

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises UserError where GPUs cannot be shared evenly."""
        gpus, processes = options["gpus"], options["processes"]
        if gpus is not None and gpus % processes:
            raise UserError(f"--gpus={gpus} cannot be shared evenly by --processes={processes}")

    def workdir(self, folder: Path, name: str, options: Mapping[str, Any]) -> str:
        """The run's folder."""
        return str(folder)

    def plan(self, job: Job) -> Plan:
        """The commands of the first attempt of each run."""
        commands = [
            command
            for run in job.runs
            for command in _commands(job, run, run.folder / "launch/attempts/1", None)
        ]
        return Plan(commands=tuple(commands))

    def submit(self, job: Job, tools: Tools) -> None:
        """Start somebody to stay with each run, who outlives this process."""
        for run in job.runs:
            detach(RunFolder(run.folder))

    def look(self, runs: Sequence[RunFolder], tools: Tools) -> Mapping[Path, Seen]:
        """Whoever stays with a run, or one of its processes, holds its lock."""
        return {run.path: _look(run) for run in runs}

    def cancel(self, runs: Sequence[RunFolder], tools: Tools, *, now: bool) -> None:
        """Whoever stays with it sees that it is cancelled; where nobody does, its processes are
        told.
        """
        for run in runs:
            for process in _alive(run):
                with contextlib.suppress(ProcessLookupError):
                    if now:
                        os.killpg(process.pid, signal.SIGKILL)
                    else:
                        os.kill(process.pid, signal.SIGTERM)

    def fetch(self, run: RunFolder, tools: Tools) -> None:
        """All of it is here."""

    def doctor(self, options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
        """Whether processes can find each other."""
        free = next((port for port in _PORTS if _is_free(port)), None)
        yield Finding(free is not None, "a port is free for processes to join at")
        if options["gpus"] is not None:
            yield Finding(tools.has("nvidia-smi"), "nvidia-smi lists GPUs", "is the driver there?")

    def supervise(self, job: Job, tools: Tools, say: Callable[[str], None]) -> int:
        """Run it, again where that is due, until it is done, fails or is told to stop."""
        (run,) = job.runs
        folder = RunFolder(run.folder)
        with (
            only_one(folder) as lock,
            told_to_stop() as told,
            hold_gpus(job.options["gpus"], tools, say, lambda: bool(told)) as gpus,
        ):
            while not told and not folder.cancelled:
                status = _attempt(job, run, folder, gpus, lock, told)
                decision = decide(
                    run.folder,
                    max_restarts=job.options["max_restarts"],
                    restarts_without_progress=job.options["restarts_without_progress"],
                    retry_errors=job.options["retry_errors"],
                )
                if told or not decision.again:
                    return status
                say(f"starting again: {decision.why}")
        return RESUME_STATUS


def _attempt(
    job: Job,
    run: Run,
    folder: RunFolder,
    gpus: Sequence[str] | None,
    lock: IO[str],
    told: list[int],
) -> int:
    """Start all processes and wait for all of them; returns the status of the whole."""
    attempt = folder.new_attempt()
    processes = []
    for number, command in enumerate(_commands(job, run, attempt, gpus)):
        with (attempt / f"process-{number}.log").open("ab") as log:
            processes.append(
                subprocess.Popen(
                    command,
                    cwd=job.code,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a group that can be killed with all it started
                    pass_fds=[lock.fileno()],  # so that the run is not free while one of them lives
                )
            )
    _wait(processes, folder, job.options["grace"], told)
    for number, process in enumerate(processes):
        _complete(attempt, number, process)
    status = read_attempt(attempt).exit
    return 1 if status is None else status


def _wait(
    processes: Sequence["subprocess.Popen[bytes]"], folder: RunFolder, grace: float, told: list[int]
) -> None:
    """Until all have ended, which is made sure of once one failed, or the run is to stop."""
    terminate_at = kill_at = float("inf")
    asked = False
    while any(process.poll() is None for process in processes):
        now = time.monotonic()
        if not asked and (told or folder.cancelled):
            asked, terminate_at = True, now
        if terminate_at == float("inf") and any(p.returncode for p in processes):
            terminate_at = now + _LAST_WORDS_SECONDS
        if now >= terminate_at and kill_at == float("inf"):
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            kill_at = now + (grace if asked else _LAST_WORDS_SECONDS)
        if now >= kill_at:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            kill_at = now + 1.0
        time.sleep(_POLL_SECONDS)


def _complete(attempt: Path, number: int, process: "subprocess.Popen[bytes]") -> None:
    """Where a process could not write down its end, because it was killed or never came to
    begin.
    """
    path = attempt / f"process-{number}.json"
    found = [each for each in read_attempt(attempt).processes if each.process == number]
    now = time.time()
    record = found[0] if found else Process(number, socket.gethostname(), process.pid, now)
    if record.exit is None:
        error = last_error(attempt / f"process-{number}.log")
        write_record(path, replace(record, ended=now, exit=process.returncode, error=error))


def _commands(
    job: Job, run: Run, attempt: Path, gpus: Sequence[str] | None
) -> Iterator[tuple[str, ...]]:
    count = job.options["processes"]
    address = {"JAX_COORDINATOR_ADDRESS": f"localhost:{_port(run.folder)}"} if count > 1 else {}
    for number in range(count):
        joined = {**address, "JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(number)}
        mine = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus[number::count])}
        more = {**(joined if count > 1 else {}), **mine}
        yield prepared(job.options, watched(job.options, attempt, number, run.command), more)


def _port(folder: Path) -> int:
    """A port that follows from the folder, so that it can be told beforehand, or the next that is
    free.
    """
    first = zlib.crc32(str(folder).encode()) % len(_PORTS)
    ports = [*_PORTS[first:], *_PORTS[:first]]
    return next((port for port in ports if _is_free(port)), ports[0])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


# --- whether a run is going on --------------------------------------------------------------------


def _look(run: RunFolder) -> Seen:
    if not is_held(run):
        return Seen("ended" if run.submissions() or run.attempts() else "unknown")
    attempts = run.attempts()
    if not attempts:
        return Seen("queued", "waiting for GPUs" if run.options()["gpus"] else "")
    if attempts[-1].processes and attempts[-1].exit is not None:
        return Seen("restarting")
    return Seen("running", f"attempt {attempts[-1].number}" if attempts[-1].number > 1 else "")


def _alive(run: RunFolder) -> list[Process]:
    """Processes of the newest attempt that run on this machine."""
    history = run.attempts()
    here = socket.gethostname()
    return [
        process
        for process in (history[-1].processes if history else ())
        if process.exit is None and process.host == here and _is_ours(process.pid)
    ]


def _is_ours(pid: int) -> bool:
    """Whether the number still belongs to the process that wrote it down."""
    try:
        return b"launch.on_host.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
