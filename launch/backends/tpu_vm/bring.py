"""What the workers have of a run, brought into its folder."""

import base64
import os
import socket
import tarfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.backends.tpu_vm import remote
from launch.backends.tpu_vm.workers import Workers
from launch.on_host.process import write_record
from launch.on_host.records import RESUME_STATUS, Process, read_attempt
from launch.on_host.tpu_vm import BLOCK_BYTES, BRINGS
from launch.plan import write_at_once
from launch.run_folder import RunFolder


def bring(workers: Workers, folder: RunFolder, attempt: Path) -> dict[int, str]:
    """Records, new lines of logs and metrics, and the newest checkpoint's step, as they are now.

    Returns:
      Processes whose worker was not reached, and why.
    """
    silent: dict[int, str] = {}
    which: Sequence[int] = range(len(workers.members))
    while which:
        replies = workers.call(
            "poll",
            which=which,
            attempt=int(attempt.name),
            offset=lambda process: _size(_log(attempt, process)),
            metrics=_have(folder.path / "metrics.jsonl"),
        )
        silent.update({p: reply.why for p, reply in replies.items() if reply.said is None})
        for process, reply in replies.items():
            if reply.said and "problem" in reply.said:
                silent[process] = reply.said["problem"]
        told = {p: reply.said for p, reply in replies.items() if reply.said and p not in silent}
        which = [p for p, said in told.items() if _keep(folder, attempt, p, said)]
    return silent


def bring_results(workers: Workers, folder: RunFolder) -> None:
    """The small files of the workdir.

    Raises:
      Failure, NodesLost: worker 0 is not reached.
    """
    workers.insist("collect", which=[0])
    packed = Path(remote.results(folder.path))
    file = f"{remote.folder(workers.name)}/results.tar"
    workers.run(
        "bringing results",
        lambda n, i: workers.place.copy_from(n, i, file, str(packed)),
        which=[0],
    )
    with tarfile.open(packed) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if member.name in BRINGS and content is not None:
                _replace(folder.path / member.name, content.read())
    packed.unlink()


def note_lost(attempt: Path, why: str) -> None:
    """Processes whose machines are gone could not write down their end.

    Theirs was no failure of the run, which begins again where it was saved.
    """
    now = time.time()
    known = read_attempt(attempt).processes
    for each in known or (Process(0, socket.gethostname(), 0, now),):
        if each.exit != 0:
            ended = replace(each, ended=now, exit=RESUME_STATUS, error=why)
            write_record(attempt / f"process-{each.process}.json", ended)


def _keep(folder: RunFolder, attempt: Path, process: int, said: dict[str, Any]) -> bool:
    """Write down what a worker said; returns whether it has more to say."""
    log, lines = _log(attempt, process), base64.b64decode(said["log"])
    if lines:
        with log.open("ab") as file:
            file.write(lines)
    if said["record"] is not None:
        write_record(attempt / f"process-{process}.json", Process(**said["record"]))
    if said["checkpoint"] is not None:
        write_at_once(folder.launch / "newest_checkpoint", str(said["checkpoint"]))
    metrics = base64.b64decode(said.get("metrics", ""))
    if metrics:
        path = folder.path / "metrics.jsonl"
        before = path.read_bytes()[: said["begin"]] if path.exists() else b""
        _replace(path, before + metrics)
    return BLOCK_BYTES in (len(lines), len(metrics))


def _log(attempt: Path, process: int) -> Path:
    return attempt / f"process-{process}.log"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _have(path: Path) -> str:
    content = path.read_bytes() if path.exists() else b""
    return f"{len(content)}:{zlib.crc32(content)}"


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
