"""All workers of a run, asked at once and each by itself, so that it is known which one failed."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dlresearch.errors import Failure
from launch.backends.tpu_vm import remote
from launch.backends.tpu_vm.gcloud import Place, mistake_of, on_worker, what_failed
from launch.plan import Answer, Tools

_AT_ONCE = 16  # each is a gcloud, which is a Python of 100 MB and a second of work
_INSTALL_SECONDS = 3600.0
_UNREACHED = 255  # of ssh; a command that ends so itself is not told apart


class NodesLost(Exception):
    """The nodes went away while they were being used."""


class Interrupted(Exception):
    """Whoever stays with the run is told to go, or the run is cancelled."""


@dataclass(frozen=True)
class Reply:
    """What a worker said.

    Attributes:
      said: its answer; None where it was not reached, or broke off.
      why: what went wrong, in a line.
    """

    said: dict[str, Any] | None
    why: str = ""
    mistake: Exception | None = None


@dataclass(frozen=True)
class Workers:
    """Those of a run.

    Attributes:
      name: of the run.
      members: of all nodes as (node, number there), in the order of processes.
      lost: asks Google whether a node is gone: in words, or None.
      stops: whether to give up trying.
      patience: seconds for which a worker may be out of reach.
      pause: seconds before it is tried again.
    """

    name: str
    members: Sequence[tuple[str, int]]
    place: Place
    tools: Tools
    say: Callable[[str], None]
    lost: Callable[[], str | None]
    stops: Callable[[], bool]
    patience: float
    pause: float

    def call(
        self, verb: str, *flags: str, which: Sequence[int] | None = None, **numbers: Any
    ) -> dict[int, Reply]:
        """Ask `on_host.tpu_vm` on each worker once; answers by the number of the process.

        Args:
          which: processes, all by default.
          numbers: flags with a value, which may be a function of the process.
        """
        seconds = {"seconds": _INSTALL_SECONDS} if verb == "install" else {}

        def one(process: int) -> Reply:
            node, worker = self.members[process]
            given = {k: v(process) if callable(v) else v for k, v in numbers.items()}
            command = remote.call(self.name, verb, *flags, **given, process=process)
            argv = self.place.ssh(node, worker, command)
            return _reply(on_worker(argv, self.tools, **seconds))

        return self._each(one, range(len(self.members)) if which is None else which)

    def insist(
        self, verb: str, *flags: str, which: Sequence[int] | None = None, **numbers: Any
    ) -> dict[int, dict[str, Any]]:
        """Ask each worker until it has answered.

        Raises:
          Failure: one cannot do as it is asked, or is out of reach for too long.
          NodesLost: they are gone.
          Interrupted: before that.
        """
        return self._insist(lambda left: self.call(verb, *flags, which=left, **numbers), which)

    def run(
        self,
        what: str,
        argv_of: Callable[[str, int], Sequence[str]],
        which: Sequence[int] | None = None,
    ) -> dict[int, dict[str, Any]]:
        """Run a gcloud command for each worker, until each was reached.

        Args:
          what: it is for, in words.

        Returns:
          What each answered, for one that answers as `on_host.tpu_vm` does.

        Raises:
          Failure, NodesLost, Interrupted: as `insist` does, or where what was run there fails.
        """

        def one(process: int) -> Reply:
            answer = on_worker(argv_of(*self.members[process]), self.tools)
            if answer.status == 0:
                said = _reply(answer).said
                return Reply({} if said is None else said)
            if answer.status == _UNREACHED or "ERROR:" in answer.err:  # gcloud's own, or of ssh
                return Reply(None, what_failed(answer), mistake_of(answer))
            return Reply({"problem": f"{what}: {answer.reason}"})

        return self._insist(lambda left: self._each(one, left), which)

    def named(self, process: int) -> str:
        """A worker, for people."""
        node, worker = self.members[process]
        return f"worker {worker} of {node}"

    def _each(self, one: Callable[[int], Reply], which: Sequence[int]) -> dict[int, Reply]:
        with ThreadPoolExecutor(min(_AT_ONCE, len(which))) as threads:
            return dict(zip(which, threads.map(one, which), strict=True))

    def _insist(
        self,
        ask: Callable[[Sequence[int]], Mapping[int, Reply]],
        which: Sequence[int] | None,
    ) -> dict[int, dict[str, Any]]:
        answered: dict[int, dict[str, Any]] = {}
        waiting: Sequence[int] = range(len(self.members)) if which is None else which
        until, told = time.monotonic() + self.patience, False
        while True:
            replies = ask(waiting)
            for process, reply in replies.items():
                if reply.said is not None and "problem" in reply.said:
                    raise Failure(f"{self.named(process)}: {reply.said['problem']}")
                if reply.said is not None:
                    answered[process] = reply.said
            waiting = [each for each in replies if each not in answered]
            if not waiting:
                return dict(sorted(answered.items()))
            if self.stops():
                raise Interrupted
            if gone := self.lost():
                raise NodesLost(gone)
            first = replies[waiting[0]]
            if first.mistake is not None:
                raise first.mistake
            if time.monotonic() > until:
                raise Failure(
                    f"{self.named(waiting[0])} is out of reach for {self.patience:g} s: {first.why}"
                )
            if not told:
                self.say(f"{self.named(waiting[0])} is not reached, trying again: {first.why}")
                told = True
            time.sleep(self.pause)


def _reply(answer: Answer) -> Reply:
    for line in reversed(answer.out.splitlines()):
        if line.startswith("launch: "):
            try:
                return Reply(json.loads(line.removeprefix("launch: ")))
            except ValueError:
                break  # cut off in the middle
    return Reply(None, what_failed(answer))
