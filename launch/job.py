"""What a backend is asked to start."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.snapshot import Snapshot

_NAME_LENGTH = 40  # JobSet, its pods and their hostnames add to it, and 63 is the limit of a label


@dataclass(frozen=True)
class Run:
    """One run: a folder, and the command whose run it is.

    Attributes:
      folder: absolute; of the launcher. On local and slurm the trainer writes there, too.
      command: complete, for each of its processes the same.
    """

    folder: Path
    command: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One run, or those of a sweep, which differ in their command.

    Attributes:
      name: a label of RFC 1123, for whoever schedules.
      folder: of the run, or of the sweep.
      code: the folder that the commands run in: the snapshot, or where the user stood.
      options: of the backend and those of all backends, by name.
      max_parallel: how many of the runs may be going on at once; 0 is all of them.
      snapshot: what `code` will hold, for a dry run that does not copy it.
    """

    name: str
    folder: Path
    runs: tuple[Run, ...]
    code: Path
    options: Mapping[str, Any]
    max_parallel: int = 0
    snapshot: Snapshot | None = None


def job_name(folder: Path) -> str:
    """A name of lower-case letters, digits and hyphens, at most 40 characters, which differs for
    two folders of the same name.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:6]
    room = _NAME_LENGTH - len(digest) - len("r-") - 1
    return f"r-{plain[:room].strip('-') or 'run'}-{digest}"
