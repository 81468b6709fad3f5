"""The TPU of a worker, before a run: free, or freed of whoever still holds it."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

# Of TPU v2 to v4, and of later ones. A test has devices of its own.
_ROOT = os.environ.get("LAUNCH_TPU_ROOT", "/")
_DEVICES = ("dev/accel*", "dev/vfio/[0-9]*")
_LOCK = "tmp/libtpu_lockfile"
_TERM_SECONDS = 5.0


def clear() -> list[str]:
    """End whoever has a device open, and remove the lock that somebody has left.

    A process that was killed can leave it behind, and then libtpu says that the TPU is already in
    use.

    Returns:
      Whom it ended: number and command.

    Raises:
      TimeoutError: one does not end.
    """
    devices = [path for pattern in _DEVICES for path in glob.glob(os.path.join(_ROOT, pattern))]
    killed, lock = {}, Path(_ROOT, _LOCK)
    if not devices:
        return []
    for signum in (signal.SIGTERM, signal.SIGKILL):
        found = _holders(devices)
        killed.update(found)
        for pid in found:
            _send(pid, signum)
        until = time.monotonic() + _TERM_SECONDS
        while (found := _holders(devices)) and time.monotonic() < until:
            time.sleep(0.1)
    if found:
        pid, command = min(found.items())
        raise TimeoutError(f"process {pid} ({command}) holds the TPU and does not end")
    if lock.exists():
        try:
            lock.unlink()
        except PermissionError:
            subprocess.run([*_sudo(), "rm", "-f", str(lock)], check=False)
    return [f"{pid} ({command})" for pid, command in sorted(killed.items())]


def _holders(devices: list[str]) -> dict[int, str]:
    """Processes that have a device open, and their commands."""
    wanted, found = {os.path.realpath(device) for device in devices}, {}
    listed = subprocess.run(
        # Only root sees what others have open; `sudo` needs no password on a stock image.
        [*_sudo(), "find", "/proc", "-maxdepth", "3",
         "-path", "/proc/[0-9]*/fd/*", "-printf", "%p\t%l\n"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
        encoding="utf-8", errors="replace",
    ).stdout  # fmt: skip
    for line in listed.splitlines():
        path, _, target = line.partition("\t")
        if target in wanted and path.split("/")[2].isdecimal():
            pid = int(path.split("/")[2])
            found[pid] = _command(pid)
    return found


def _send(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass
    except PermissionError:
        subprocess.run([*_sudo(), "kill", f"-{signum}", str(pid)], check=False)


def _sudo() -> list[str]:
    return [] if os.getuid() == 0 or not shutil.which("sudo") else ["sudo", "-n"]


def _command(pid: int) -> str:
    try:
        words = Path("/proc", str(pid), "cmdline").read_text(errors="replace")
    except OSError:
        return "gone"
    return words.replace("\0", " ").strip()[:120]
