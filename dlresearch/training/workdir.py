"""The folder of a run: who may write in it, and the small files that say what it was."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from dlresearch.config import Experiment, differences, to_dict
from dlresearch.errors import UserError
from dlresearch.parallel import from_first, gather, host

RECORDED_PACKAGES = (
    "dlresearch", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
    "tensorflow-datasets",
)  # fmt: skip


_SHARED_WITHIN_SECONDS = 30.0  # network file systems show a new file late


# Settings that say how a run is computed, and not what: they may differ when it goes on.
_MAY_CHANGE = (
    "mesh.",
    "remat.",
    "data.placement.",
    "data.workers.",
    "data.prefetch.",
    "log.tensorboard.",
)


@dataclass(frozen=True)
class Workdir:
    """Paths of a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metadata(self) -> Path:
        return self.path / "metadata.json"

    @property
    def vocabularies(self) -> Path:
        return self.path / "vocabularies"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"


def open_workdir(path: str) -> Workdir:
    """The run folder at `path`, made where it is missing.

    Raises:
      UserError: it is no folder on a mounted file system, or cannot be written.
    """
    if "://" in path:
        raise UserError(
            f"--workdir: {path} is not a local path; mount the bucket and name the mount"
        )
    workdir = Workdir(Path(from_first(lambda: str(Path(path).expanduser().absolute()))))
    try:
        workdir.path.mkdir(parents=True, exist_ok=True)
        probe = workdir.path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir: cannot write in {path}: {error.strerror}") from None
    _check_shared(workdir)
    return workdir


def _check_shared(workdir: Workdir) -> None:
    """Raises UserError where a process sees another folder than the first one does."""
    if jax.process_count() == 1:
        return
    mark = workdir.path / ".shared"

    def leave_mark() -> str:
        mark.write_text(str(time.time_ns()))
        return mark.read_text()

    expected, until = from_first(leave_mark), time.monotonic() + _SHARED_WITHIN_SECONDS
    while not mark.exists() or mark.read_text() != expected:
        if time.monotonic() > until:
            raise UserError(
                f"--workdir: {workdir.path} of {host()} is not the folder that process 0 has; all"
                " processes need one they share, on a network file system or a mounted bucket"
            )
        time.sleep(0.1)
    gather("seen")
    if jax.process_index() == 0:
        mark.unlink()


@contextlib.contextmanager
def sole_writer(workdir: Workdir) -> Iterator[None]:
    """Hold the folder for this run; another one that trains in it would mix the two.

    Raises:
      UserError: another run holds it.
    """
    if jax.process_index() != 0:
        yield
        return
    with (workdir.path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"--workdir: another process is training in {workdir.path}") from None
        except OSError:
            pass  # a file system without locks, as some network ones are: nothing to hold
        yield


def check_same_config(experiment: Experiment, workdir: Workdir, accept_changed: bool) -> None:
    """Raises UserError where the folder holds a run that computed something else."""
    before = from_first(lambda: read_json(workdir.config))
    found = [] if before is None else differences(before, to_dict(experiment))
    changed = [each for each in found if not f"{each[0]}.".startswith(_MAY_CHANGE)]
    resumes = from_first(lambda: any(workdir.checkpoints.glob("[0-9]*")))
    if changed and not accept_changed and resumes:
        path, there, here = changed[0]
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(
            f"--workdir: {workdir.path} holds a run with other settings: config.{path} is {there!r}"
            f" there and {here!r} here{more}; take another folder, or --accept_changed_config"
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write all of it or nothing: to a file beside it, to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None where there is none.

    Raises:
      UserError: it is there and is no JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON file; delete it or restore it")
    return content


def environment(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Commit, packages, devices and command of this process."""
    versions = {}
    for package in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "command": sys.argv,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": versions,
        "host": platform.node(),
        "cpu_cores": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        **notes,
    }


def commit() -> str | None:
    """The git commit of the code that runs, with `+` where the working tree differs from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if dirty else "")


def device_name() -> str:
    """The devices of the run in words: `8 x NVIDIA H100`, `CPU, 2 cores`."""
    devices = jax.devices()
    if devices[0].platform == "cpu":
        virtual = f"{len(devices)} devices on " if len(devices) > 1 else ""
        return f"{virtual}CPU, {os.cpu_count()} cores"
    return f"{len(devices)} x {devices[0].device_kind}"
