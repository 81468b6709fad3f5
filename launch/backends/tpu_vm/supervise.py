"""Staying with a run on TPU VMs, from asking for the nodes to deleting them.

What runs on the workers does not depend on us: it outlives its ssh connection and this process.
Whoever stays with the run the next time finds it by the number of its newest attempt.
"""

import contextlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dlresearch.errors import Failure, UserError
from launch.backends.tpu_vm.bring import bring, bring_results, note_lost
from launch.backends.tpu_vm.gcloud import Place, Unanswered
from launch.backends.tpu_vm.nodes import Nodes
from launch.backends.tpu_vm.starting import goes_on, start
from launch.backends.tpu_vm.workers import Interrupted, NodesLost, Workers
from launch.job import Job
from launch.on_host.records import RESUME_STATUS, first_to_fail, read_attempt
from launch.on_host.restarts import Decision, decide
from launch.plan import Tools
from launch.run_folder import RunFolder
from launch.states import first_cause

ACTIVE = "ACTIVE"
# The trainer ends all its processes when one fails, and says who was first: let it.
_LAST_WORDS_SECONDS = 15.0


@dataclass
class Stay:
    """With one run, until it ends or `told` is not empty.

    Attributes:
      lost: whether the newest attempt ended because its nodes went away.
    """

    job: Job
    tools: Tools
    say: Callable[[str], None]
    told: Sequence[int]
    lost: bool = field(default=False, init=False)
    nodes: Nodes = field(init=False)
    folder: RunFolder = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = Nodes(self.job.name, self.job.options, self.tools, self.say)
        self.folder = RunFolder(self.job.folder)

    def to_the_end(self) -> int:
        """Start it, again where that is due, until it is done, fails or is cancelled.

        Returns:
          The status of the run; 75 where we leave it running.

        Raises:
          UserError, Failure: it could not be started. The nodes are deleted then, too.
        """
        try:
            status = self._attempts()
        except (UserError, Failure):
            if self.nodes.seen:
                self._delete()
            raise
        if status is None:
            self.say(
                f"{self.nodes.name} and its run go on, and cost; `python -m launch supervise"
                f" {self.folder.path}` stays with it again, `cancel` ends it"
            )
            return RESUME_STATUS
        self._delete()
        return status

    def _attempts(self) -> int | None:
        """One after the other; the status of the last, None where we leave it running."""
        status = self._status_seen()
        while True:
            if status is not None:
                decision = self._decide(status)
                if not decision.again:
                    if status != 0:
                        self.say(f"not started again: {decision.why}")
                    return status
                self.say("asking again" if self.lost else f"starting again: {decision.why}")
            attempt, nodes = self._unfinished(), self.nodes.obtain(self._stops)
            if not nodes:
                return RESUME_STATUS if self.folder.cancelled else None
            if attempt and nodes == "created":
                note_lost(attempt, "its nodes were gone")
                attempt = None
            try:
                status = self._attempt(attempt)
            except Interrupted:
                status = None
            if status is None:
                return None

    def _status_seen(self) -> int | None:
        """Of an attempt whose end was seen by somebody who then went before acting on it."""
        history, begin = self.folder.attempts(), self.folder.launch / "restarted_after"
        judged = int(begin.read_text()) if begin.exists() else 0
        if not history or history[-1].number <= judged or self._unfinished():
            return None
        if self.nodes.state().word == ACTIVE and not self._lost():
            with contextlib.suppress(NodesLost):
                bring_results(self._workers(), self.folder)
        return history[-1].exit

    def _decide(self, status: int) -> Decision:
        options = self.job.options
        return decide(
            self.folder.path,
            max_restarts=options["max_restarts"],
            restarts_without_progress=options["restarts_without_progress"],
            retry_errors=options["retry_errors"],
            exit=status,
        )

    def end(self, *, now: bool) -> None:
        """End a run that is cancelled, and that nobody stays with."""
        attempt = self._unfinished()
        if attempt and self.nodes.state().word == ACTIVE and not self.nodes.lost():
            workers = self._workers()
            try:
                if now:
                    workers.call("stop", "--kill", attempt=int(attempt.name))
                self._watch(workers, attempt)
                bring_results(workers, self.folder)
            except NodesLost as loss:
                note_lost(attempt, str(loss))
        self._delete()

    # --- an attempt -----------------------------------------------------------------------------

    def _workers(self) -> Workers:
        options = self.job.options
        return Workers(
            name=self.job.name,
            members=self._members(),
            place=Place.of(options),
            tools=self.tools,
            say=self.say,
            lost=self._lost,
            stops=lambda: bool(self.told),
            patience=options["unreachable_seconds"],
            pause=options["poll_seconds"],
        )

    def _members(self) -> list[tuple[str, int]]:
        while True:
            try:
                if members := self.nodes.workers():
                    return members
                raise NodesLost(f"{self.nodes.name} has no workers")
            except Unanswered:
                time.sleep(self.job.options["poll_seconds"])

    def _lost(self) -> str | None:
        try:
            return self.nodes.lost()
        except (UserError, Unanswered):
            return None  # we do not know; nor may we ask, where the login has expired

    def _stops(self) -> bool:
        return bool(self.told) or self.folder.cancelled

    def _unfinished(self) -> Path | None:
        """The newest attempt, if nobody has seen its end."""
        history = self.folder.attempts()
        if not history or (history[-1].processes and history[-1].exit is not None):
            return None
        return history[-1].folder

    def _attempt(self, unfinished: Path | None) -> int | None:
        """Start all processes, or find them running, and wait for all of them.

        Returns:
          The status of the whole; None where we leave it running.

        Raises:
          Interrupted: before it has begun.
        """
        attempt, self.lost = unfinished or self.folder.new_attempt(), False
        try:
            workers = self._workers()
            if not unfinished or not goes_on(workers, attempt, self.say):
                start(self.job, workers, attempt, self.say)
            self._watch(workers, attempt)
            if self.told and not self.folder.cancelled:
                return None
            bring_results(workers, self.folder)
        except NodesLost as loss:
            self.say(f"attempt {attempt.name}: {loss}")
            note_lost(attempt, str(loss))
            self.lost = True
            self.nodes.delete(self._stops)
        status = read_attempt(attempt).exit
        return 1 if status is None else status

    def _watch(self, workers: Workers, attempt: Path) -> None:
        """Until all processes have ended, which is made sure of once one failed or the run is
        cancelled; or until we are told to go.

        Raises:
          NodesLost: before that.
        """
        number, grace = int(attempt.name), self.job.options["grace"]
        terminate_at = kill_at = float("inf")
        seen = dict.fromkeys(range(len(workers.members)), time.monotonic())
        silent: dict[int, str] = {}
        cancelled = False
        while True:
            before, silent = silent, bring(workers, self.folder, attempt)
            now = time.monotonic()
            seen.update({process: now for process in seen if process not in silent})
            for process in silent.keys() - before.keys():
                self.say(f"{workers.named(process)} is not reached: {silent[process]}")
            lost = self._loss(workers, {p: now - since for p, since in seen.items()})
            records = read_attempt(attempt).processes
            # One that never began has nothing to end.
            missing = seen.keys() - {each.process for each in records}
            if self.folder.cancelled:
                missing &= silent.keys()
            ended = not missing and all(each.exit is not None for each in records)
            # What fails as its machine is switched off is no failure of the run.
            if lost and not (ended and first_to_fail(records) is None):
                raise NodesLost(lost)
            if ended:
                return
            if self.told and not self.folder.cancelled:
                return
            if not cancelled and self.folder.cancelled:
                cancelled, terminate_at = True, now
            if terminate_at == float("inf") and any(each.exit for each in records):
                self.say(f"attempt {number}: {first_cause(read_attempt(attempt))}")
                terminate_at = now + _LAST_WORDS_SECONDS
            if now >= kill_at:
                workers.call("stop", "--kill", attempt=number)
            elif now >= terminate_at and kill_at == float("inf"):
                workers.call("stop", attempt=number)
                kill_at = now + (grace if cancelled else _LAST_WORDS_SECONDS)
            time.sleep(self.job.options["poll_seconds"])

    def _loss(self, workers: Workers, silence: Mapping[int, float]) -> str | None:
        """Why the nodes cannot be used any more; a machine may be gone without Google's word."""
        try:
            if lost := self.nodes.lost():
                return lost
        except (UserError, Unanswered):
            return None  # then it is our network, or our login
        process = max(silence, key=lambda each: silence[each])
        if silence[process] > workers.patience:
            return f"{workers.named(process)} has been out of reach for {silence[process]:.0f} s"
        return None

    def _delete(self) -> None:
        if self.job.options["keep"]:
            command = shlex.join(Place.of(self.job.options).delete(self.nodes.name))
            self.say(f"{self.nodes.name} is kept, and costs until: {command}")
            return
        self.nodes.delete()
        self.say(f"{self.nodes.name} is deleted")
