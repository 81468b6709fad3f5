"""Where a run can go: each backend plans, submits, and says how it stands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from launch.job import Job
from launch.options import Option
from launch.plan import Plan, Tools
from launch.run_folder import RunFolder

Standing = Literal["queued", "running", "restarting", "ended", "unknown"]


@dataclass(frozen=True)
class Seen:
    """What the scheduler says of a run.

    Attributes:
      state: "unknown" where it does not know the run (any more).
      detail: such as why it waits.
    """

    state: Standing
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of `doctor`; with `hint`, what to do about it."""

    ok: bool
    what: str
    hint: str = ""


class Backend(Protocol):
    """A way to start processes somewhere.

    Attributes:
      options: its own; those of another backend are a mistake.
      arrays: it keeps the runs of a sweep going by itself, so many at once, as one job.
      defaults: of options that all backends have, where they differ here.
    """

    name: str
    options: tuple[Option, ...]
    arrays: bool
    defaults: Mapping[str, Any]

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises UserError for options that contradict each other or are missing."""
        ...

    def workdir(self, folder: Path, name: str, options: Mapping[str, Any]) -> str:
        """Where the trainer writes, on its machine."""
        ...

    def plan(self, job: Job) -> Plan:
        """What `submit` will write and run; without a clock, a tool or a network."""
        ...

    def submit(self, job: Job, tools: Tools) -> None:
        """Carry out the plan, and note what came back in the folder of each run.

        Raises:
          UserError: the scheduler does not take it.
        """
        ...

    def look(self, runs: Sequence[RunFolder], tools: Tools) -> Mapping[Path, Seen]:
        """How runs stand, by folder; asked for all of them at once."""
        ...

    def cancel(self, runs: Sequence[RunFolder], tools: Tools, *, now: bool) -> None:
        """End runs whose folders say so already; with `now` without letting them save."""
        ...

    def fetch(self, run: RunFolder, tools: Tools) -> None:
        """Bring records, logs, metrics and the result into the folder, if they are elsewhere."""
        ...

    def doctor(self, options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
        """What would keep a run from starting."""
        ...


@runtime_checkable
class Supervisor(Protocol):
    """A backend that needs somebody to stay while a run goes on."""

    def supervise(self, job: Job, tools: Tools, say: Callable[[str], None]) -> int:
        """Stay with a run until it ends, start it again where that is due; returns its status."""
        ...
