"""What a launch keeps in the folder of a run: what was asked, and what became of it.

RUN/launch/launch.json                     what was asked
RUN/launch/submitted.jsonl                 each time it was handed to a scheduler
RUN/launch/cancelled, pruned               that it must not start again
RUN/launch/attempts/N/process-I.{json,log} each start of each process
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlresearch.errors import UserError
from launch.on_host import records
from launch.plan import write_at_once

_LAUNCH = "launch"


@dataclass(frozen=True)
class RunFolder:
    """A folder of a run or of a sweep, which need not exist yet."""

    path: Path

    @property
    def launch(self) -> Path:
        """Where all of it is."""
        return self.path / _LAUNCH

    # --- what was asked -------------------------------------------------------------------------

    @property
    def is_ours(self) -> bool:
        """Whether something was launched in it."""
        return (self.launch / "launch.json").is_file()

    def asked(self) -> dict[str, Any]:
        """What was asked.

        Raises:
          UserError: nothing was, here; or the file is not one of ours.
        """
        path = self.launch / "launch.json"
        try:
            return json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.path} is no folder of a launched run") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None

    def note_asked(self, asked: Mapping[str, Any]) -> None:
        """Write down what is asked."""
        write_at_once(self.launch / "launch.json", json.dumps(asked, indent=2) + "\n")

    def options(self) -> dict[str, Any]:
        """The options that were asked for, by name, without where they came from."""
        return {
            name: tuple(option["value"]) if isinstance(option["value"], list) else option["value"]
            for name, option in self.asked()["options"].items()
        }

    # --- what became of it ----------------------------------------------------------------------

    def submissions(self) -> list[dict[str, Any]]:
        """Each time it was handed over, oldest first."""
        path = self.launch / "submitted.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def note_submission(self, facts: Mapping[str, Any]) -> None:
        """Add one; the time is added to it."""
        self.launch.mkdir(parents=True, exist_ok=True)
        with (self.launch / "submitted.jsonl").open("a") as file:
            file.write(json.dumps({"time": time.time(), **facts}) + "\n")

    @property
    def cancelled(self) -> bool:
        """Whether it must not start again."""
        return records.is_cancelled(self.path)

    @property
    def pruned(self) -> bool:
        """Whether that is because a search gave it up."""
        return (self.launch / "pruned").exists()

    def note_cancelled(self, *, pruned: bool = False) -> None:
        """From now on nothing starts it again."""
        self.launch.mkdir(parents=True, exist_ok=True)
        (self.launch / ("pruned" if pruned else "cancelled")).touch()

    def forget_the_end(self) -> None:
        """For `restart`: neither a cancellation nor earlier failures count any more."""
        for name in ("cancelled", "pruned"):
            (self.launch / name).unlink(missing_ok=True)
        if history := self.attempts():
            write_at_once(self.launch / "restarted_after", str(history[-1].number))

    def attempts(self) -> list[records.Attempt]:
        """All starts, oldest first."""
        return records.attempts(self.path)

    def new_attempt(self) -> Path:
        """Make the folder of the next start."""
        return records.new_attempt(self.path)

    # --- what the trainer wrote -----------------------------------------------------------------

    def result(self) -> dict[str, Any] | None:
        """Its result.json; None where there is none."""
        try:
            return json.loads((self.path / "result.json").read_text())
        except (OSError, ValueError):
            return None

    def progress(self) -> dict[str, Any]:
        """The last line of metrics.jsonl; empty where there is none."""
        try:
            lines = (self.path / "metrics.jsonl").read_text().splitlines()
            return json.loads(lines[-1]) if lines else {}
        except (OSError, ValueError):
            return {}

    def newest_checkpoint(self) -> int | None:
        """Its step; where it is elsewhere, the last that was heard of."""
        heard = self.launch / "newest_checkpoint"
        return int(heard.read_text()) if heard.exists() else records.newest_checkpoint(self.path)


def make_room(folder: Path) -> None:
    """See that a launch can be written into a folder.

    Raises:
      UserError: it is somebody else's, a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir: {folder} is a file")
    try:
        (folder / _LAUNCH).mkdir(parents=True, exist_ok=True)
        probe = folder / _LAUNCH / ".writable"
        probe.touch()
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"--workdir: {folder} cannot be written: {error.strerror}") from None
    if free < 1 << 20:
        raise UserError(f"--workdir: no room is left on the disk of {folder}")
