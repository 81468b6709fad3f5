"""An attempt begins: everything is brought to the workers, and a process started on each."""

from collections.abc import Callable
from pathlib import Path

from dlresearch.errors import UserError
from launch.backends.tpu_vm import remote
from launch.backends.tpu_vm.workers import Workers
from launch.job import Job
from launch.run_folder import RunFolder


def goes_on(workers: Workers, attempt: Path, say: Callable[[str], None]) -> bool:
    """Whether an attempt was started, by somebody who did not stay; those of its processes that
    were not reached then are started now.

    Raises:
      Failure, NodesLost, Interrupted: as `Workers.insist` does.
    """
    number, place = int(attempt.name), workers.place
    question = remote.ask_started(workers.name, number)
    answers = workers.run("greeting", lambda n, i: place.ssh(n, i, question))
    if not any(each["started"] for each in answers.values()):
        return False
    workers.insist("start", attempt=number)
    say(f"attempt {number} goes on, on {_count(workers)}")
    return True


def start(job: Job, workers: Workers, attempt: Path, say: Callable[[str], None]) -> None:
    """Start all processes of an attempt.

    Raises:
      UserError: the workers do not share the workdir.
      Failure, NodesLost, Interrupted: as `Workers.insist` does.
    """
    number, place = int(attempt.name), workers.place
    where, files = remote.folder(job.name), remote.files(job)
    RunFolder(job.folder).note_submission(
        {"id": job.name, "members": workers.members, "attempt": number}
    )
    workers.run("greeting", lambda n, i: place.ssh(n, i, remote.greet(job)))
    say(f"copying the code to {_count(workers)}")
    workers.run("copying", lambda n, i: place.copy_to(n, i, files, where))
    unpack = remote.unpack(job, number)
    workers.run("unpacking what was copied", lambda n, i: place.ssh(n, i, unpack))
    if any(each["installed"] for each in workers.insist("install").values()):
        say("installed")
    _check_workdir(remote.workdir(job), workers, number, say)
    for process, each in workers.insist("clear").items():
        for killed in each["killed"]:
            say(f"{workers.named(process)}: ended {killed}, which held the TPU")
    workers.insist("start", attempt=number)
    say(f"attempt {number} runs on {_count(workers)}")


def _check_workdir(where: str, workers: Workers, number: int, say: Callable[[str], None]) -> None:
    """Raises UserError where the workers do not share it."""
    (first,) = workers.insist("mark", which=[0], attempt=number).values()
    if len(workers.members) == 1:
        if first["own_disk"]:
            say(f"{where} is on the node's own disk, and is lost with it")
        return
    for process, seen in workers.insist("see", attempt=number).items():
        if seen["mark"] != first["mark"]:
            raise UserError(
                f"--remote_workdir: {where} of {workers.named(process)} is not the folder that"
                f" {workers.named(0)} has; give one on storage that all workers mount (--setup)"
            )
    say(f"all workers share {where}")


def _count(workers: Workers) -> str:
    count = len(workers.members)
    return f"{count} worker{'s' if count > 1 else ''}"
