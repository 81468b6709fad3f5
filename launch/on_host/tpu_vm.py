"""What the worker of a TPU VM does for a launcher that asks over ssh, one short call at a time.

    python3 -m launch.on_host.tpu_vm VERB [--attempt=N] [--process=I] ...

Called in the folder that the launcher has copied to, where job.json says what is to run. The last
line of the answer is `launch: ` and JSON; without it nobody has answered, whatever the status. Each
call may come twice, as an answer can get lost. Runs on the python3 of the image, which may be old.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

from launch.on_host import tpu_devices

BRINGS = ("result.json", "metrics.jsonl", "config.json", "environment.json", "report.html")
BLOCK_BYTES = 1 << 20
# The marker of worker 0 may reach the others late: gcsfuse keeps what it knows for a minute.
_SEE_SECONDS = 90.0


class Problem(Exception):
    """What keeps this worker from doing as it is asked; one line."""


def main() -> None:
    """Answer one call."""
    verbs = {v.__name__: v for v in (install, mark, see, clear, start, poll, stop, collect)}
    parser = argparse.ArgumentParser(prog="launch.on_host.tpu_vm")
    parser.add_argument("verb", choices=sorted(verbs))
    parser.add_argument("--attempt", type=int, default=0)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--metrics", default="0:0")
    parser.add_argument("--kill", action="store_true")
    asked = parser.parse_args()
    try:
        job = json.loads(Path("job.json").read_text())
        answer = verbs[asked.verb](job, asked)
    except (Problem, TimeoutError) as problem:
        answer = {"problem": str(problem)}
    except OSError as error:
        answer = {"problem": f"{error.strerror}: {error.filename}"}
    print(f"launch: {json.dumps(answer)}", flush=True)
    sys.exit(1 if "problem" in answer else 0)


# --- before a start -------------------------------------------------------------------------------


def install(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """The lines of `install`, in the folder of the code; once for the same lines and code."""
    wanted = hashlib.sha256(json.dumps([job["install"], job["code"]]).encode()).hexdigest()
    done = Path("installed")
    with open("install.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever asked before may have lost the connection only
        if not job["install"] or (done.exists() and done.read_text() == wanted):
            return {"installed": False}
        _shell(job["install"], "install", cwd=_code(job))
        done.write_text(wanted)
    return {"installed": True}


def mark(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Leave a mark in the workdir, which the other workers have to see."""
    _shell(job["setup"], "setup")
    workdir = _workdir(job)
    workdir.mkdir(parents=True, exist_ok=True)
    words = str(time.time_ns())
    _mark(workdir, asked).write_text(words)
    own_disk = os.stat(workdir).st_dev == os.stat(Path.home()).st_dev
    return {"mark": words, "own_disk": own_disk}


def see(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """What the mark of worker 0 says; null where there is none."""
    _shell(job["setup"], "setup")
    path = _mark(_workdir(job), asked)
    until = time.monotonic() + (_SEE_SECONDS if path.parent.is_dir() else 0)
    while not path.exists() and time.monotonic() < until:
        if os.stat(path.parent).st_dev == os.stat(Path.home()).st_dev:
            break  # on this worker's own disk: nothing will come
        time.sleep(0.5)
    return {"mark": path.read_text() if path.exists() else None}


def clear(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """End whoever still holds the TPU."""
    return {"killed": tpu_devices.clear()}


# --- a process ------------------------------------------------------------------------------------


def start(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Start this worker's process, in a session of its own that outlives the connection."""
    folder = _attempt(asked)
    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / f"process-{asked.process}.pid"
    try:
        handle = os.open(pid_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return {"started": False}
    if asked.process == 0:
        mark = _mark(_workdir(job), asked)
        if mark.exists():  # all have seen it by now
            mark.unlink()
    here = Path.cwd()
    home = os.path.expanduser
    workdir = home(job["workdir"])
    words = [word.replace(job["workdir"], workdir) for word in job["command"]]
    variables = dict(job["env"])
    path = [str(here / "kit"), variables.get("PYTHONPATH") or os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": os.pathsep.join(each for each in path if each),
    }
    watched = [
        home(job["python"]),
        "-m",
        "launch.on_host.process",
        f"--attempt={folder}",
        f"--process={asked.process}",
        "--",
        home(words[0]),
        *words[1:],
    ]
    lines = "\n".join(["set -e", *job["setup"], 'exec "$@"'])
    with (
        (folder / f"process-{asked.process}.log").open("ab") as log,
        os.fdopen(handle, "w") as file,
    ):
        child = subprocess.Popen(
            ["bash", "-c", lines, "launch", *watched],
            cwd=_code(job),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        file.write(str(child.pid))
    return {"started": True}


def poll(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """How this worker's process stands, and what is new of its files.

    `log` begins at --offset. `metrics` begins where --metrics=SIZE:CRC says that the launcher has
    the same file to, and is the whole file where it differs before that.
    """
    log = _attempt(asked) / f"process-{asked.process}.log"
    answer: dict[str, Any] = {
        "record": _record(asked),
        "log": _encode(_block(log, asked.offset)),
        "checkpoint": _newest_checkpoint(_workdir(job)),
    }
    if asked.process == 0:
        metrics = _workdir(job) / "metrics.jsonl"
        size, _, crc = asked.metrics.partition(":")
        before = metrics.read_bytes()[: int(size)] if metrics.exists() else b""
        begin = int(size) if len(before) == int(size) and zlib.crc32(before) == int(crc) else 0
        answer.update(metrics=_encode(_block(metrics, begin)), begin=begin)
    return answer


def stop(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Ask this worker's process to save and end; with --kill, end it and all it started."""
    record = _record(asked)
    if record is None or record["exit"] is not None:
        return {"record": record}
    try:
        if asked.kill:
            os.killpg(record["pid"], signal.SIGKILL)
        else:
            os.kill(record["pid"], signal.SIGTERM)
    except ProcessLookupError:
        pass
    return {"record": record}


def collect(job: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Put what the launcher wants of the workdir into results.tar."""
    workdir = _workdir(job)
    found = [name for name in BRINGS if (workdir / name).is_file()]
    with tarfile.open("results.part", "w") as tar:
        for name in found:
            tar.add(workdir / name, name)
    os.replace("results.part", "results.tar")
    return {"files": found}


def _record(asked: argparse.Namespace) -> dict[str, Any] | None:
    """What the process wrote of itself; its end is added where it could not write it.

    None where it was never started here.
    """
    folder = _attempt(asked)
    path, pid_file = (folder / f"process-{asked.process}.{kind}" for kind in ("json", "pid"))
    if not pid_file.exists():
        return None
    pid = int(_read(pid_file) or "0")
    alive = str(folder) in _read(Path("/proc", str(pid), "cmdline"))  # numbers are used again
    record = json.loads(path.read_text()) if path.exists() else None
    if record is not None and (record["exit"] is not None or alive):
        return record
    started = pid_file.stat().st_mtime
    if record is None:
        host = os.uname().nodename
        record = {"process": asked.process, "host": host, "pid": pid, "started": started}
        record.update(ended=None, exit=None, error=None)
        if alive or (pid == 0 and time.time() - started < 60):
            return record
        said = _block(folder / f"process-{asked.process}.log", -2000).decode(errors="replace")
        lines = said.strip().splitlines()
        record.update(exit=127, error=lines[-1] if lines else "it never began")
    else:
        record.update(exit=-int(signal.SIGKILL), error=record["error"])
    record["ended"] = time.time()
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(record) + "\n")
    temporary.replace(path)
    return record


# --- small things ---------------------------------------------------------------------------------


def _shell(lines: list[str], what: str, cwd: Path | None = None) -> None:
    """Lines of the site, which a shell interprets; what they print is kept in WHAT.log."""
    if not lines:
        return
    with open(f"{what}.log", "ab") as log:
        done = subprocess.run(
            ["bash", "-c", "\n".join(["set -eo pipefail", *lines])],
            cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode:
        said = _block(Path(f"{what}.log"), -2000).decode(errors="replace").strip().splitlines()
        last = said[-1] if said else "it printed nothing"
        raise Problem(f"a line of `{what}` failed with status {done.returncode}: {last}")


def _code(job: dict[str, Any]) -> Path:
    return Path.cwd() / job["code"] / job["inside"]


def _workdir(job: dict[str, Any]) -> Path:
    return Path(os.path.expanduser(job["workdir"]))


def _mark(workdir: Path, asked: argparse.Namespace) -> Path:
    return workdir / f".seen-by-all-workers-{asked.attempt}"


def _attempt(asked: argparse.Namespace) -> Path:
    return Path.cwd() / "attempts" / str(asked.attempt)


def _newest_checkpoint(workdir: Path) -> int | None:
    names = [path.name for path in (workdir / "checkpoints").glob("*")]
    return max((int(name) for name in names if name.isdecimal()), default=None)


def _block(path: Path, begin: int) -> bytes:
    """From an offset on, or so many of the last bytes."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(begin if begin >= 0 else max(0, path.stat().st_size + begin))
        return file.read(BLOCK_BYTES)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


if __name__ == "__main__":
    main()
