"""What a user asked for, as it is kept in launch.json, and the job that follows from it."""

import getpass
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.backends import Backend
from launch.backends.catalog import backend_called
from launch.job import Job, Run, job_name
from launch.options import Chosen
from launch.plan import File
from launch.run_folder import RunFolder
from launch.snapshot import Snapshot


@dataclass(frozen=True)
class Asked:
    """What was asked for one folder.

    Attributes:
      command: of the run, complete; of a sweep, what its runs have in common.
      code: where commands run.
      snapshot: None where the code runs in place.
      argv: the words after `python -m launch`.
      more: facts of a sweep.
    """

    verb: str
    folder: Path
    backend: Backend
    options: Mapping[str, Chosen]
    command: tuple[str, ...]
    code: Path
    snapshot: Snapshot | None
    argv: tuple[str, ...]
    more: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """The options' values."""
        return {name: each.value for name, each in self.options.items()}

    def file(self) -> File:
        """launch.json."""
        content = {
            "verb": self.verb,
            "backend": self.backend.name,
            "name": job_name(self.folder),
            "command": self.command,
            "code": {"path": str(self.code), **(self.snapshot.facts() if self.snapshot else {})},
            "options": {
                name: {"value": each.value, "from": each.origin}
                for name, each in self.options.items()
            },
            "argv": self.argv,
            "user": getpass.getuser(),
            "host": socket.gethostname(),
            **self.more,
        }
        path = RunFolder(self.folder).launch / "launch.json"
        return File(path, json.dumps(content, indent=2) + "\n")

    def job(self) -> Job:
        """Of a single run."""
        run = Run(self.folder, self.command)
        return Job(
            job_name(self.folder),
            self.folder,
            (run,),
            self.code,
            self.values,
            snapshot=self.snapshot,
        )


def recorded_job(folder: RunFolder) -> tuple[Backend, Job]:
    """The job of a run that was launched before.

    Raises:
      UserError: none was.
    """
    asked = folder.asked()
    run = Run(folder.path, tuple(asked["command"]))
    job = Job(asked["name"], folder.path, (run,), Path(asked["code"]["path"]), folder.options())
    return backend_called(asked["backend"]), job


def backends_of(folders: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    """Folders by the backend that they were launched with."""
    found: dict[str, list[RunFolder]] = {}
    for folder in folders:
        found.setdefault(folder.asked()["backend"], []).append(folder)
    return found
