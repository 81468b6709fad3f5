"""The nodes of a run: asked for as a queued resource, awaited, lost, deleted.

A queued resource keeps the request until Google has the TPUs; its nodes come and go with it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dlresearch.errors import Failure
from launch.backends.tpu_vm.gcloud import HINTS, Place, Unanswered, ask, order
from launch.plan import Tools

GONE = "gone"
_TRIES = 3
# Its nodes are lost, or will never come. Whatever we do not know is on its way.
LOST = ("SUSPENDED", "SUSPENDING", "FAILED", "DELETING", GONE)
_UNUSABLE = ("PREEMPTED", "TERMINATED", "STOPPED", "STOPPING", "DELETING", "HIDDEN", GONE)


@dataclass(frozen=True)
class State:
    """Of a queued resource, in Google's word or `GONE`; why it failed, if it did."""

    word: str
    why: str = ""


@dataclass
class Nodes:
    """Those of one run.

    Attributes:
      name: of the queued resource, and of its node where it has one.
      options: of the job.
      seen: whether gcloud has told their state.
    """

    name: str
    options: Mapping[str, Any]
    tools: Tools
    say: Callable[[str], None]
    seen: bool = field(default=False, init=False)
    _said: str = field(default="", init=False)

    @property
    def place(self) -> Place:
        return Place.of(self.options)

    @property
    def names(self) -> tuple[str, ...]:
        """One a slice, named by gcloud after the prefix."""
        return node_names(self.name, self.options["slices"])

    def state(self) -> State:
        """How the queued resource stands.

        Raises:
          UserError, Unanswered: as `gcloud.ask` does.
        """
        found = ask(self.place.describe(self.name), self.tools)
        self.seen = True
        if found is None:
            return State(GONE)
        state = found.get("state", {})
        why = state.get("failedData", {}).get("error", {}).get("message", "")
        return State(state.get("state", "unknown"), why)

    def lost(self) -> str | None:
        """What became of a node that cannot be used any more, in words; None while all can."""
        for name in self.names:
            found = ask(self.place.describe_node(name), self.tools)
            word = GONE if found is None else found.get("state", "unknown")
            if word in _UNUSABLE:
                return f"node {name} is {word}" if word != "PREEMPTED" else f"{name} was preempted"
        return None

    def workers(self) -> list[tuple[str, int]]:
        """All of them as (node, number there), in the order of their processes."""
        found = []
        for name in self.names:
            node = ask(self.place.describe_node(name), self.tools) or {}
            found += [(name, number) for number in range(len(node.get("networkEndpoints", ())))]
        return found

    def obtain(self, stop: Callable[[], bool]) -> Literal["", "found", "created"]:
        """Ask for the nodes unless they are there or on their way, and wait until they are there.

        Args:
          stop: whether to give up waiting, asked now and then.

        Returns:
          Whether they were there before, have come, or are not there as `stop` came first.

        Raises:
          UserError: Google does not let us.
          Failure: it has tried, and cannot; or gcloud has not answered once.
        """
        said, created, unanswered = "", False, 0
        while not stop():
            try:
                state = self.state()
                if state.word == "ACTIVE" and (created or not self.lost()):
                    return "created" if created else "found"
                if state.word == "FAILED" and created:
                    raise Failure(_refused(self.name, state.why))
                if state.word in (*LOST, "ACTIVE"):
                    self.delete(stop)
                    if order(self.place.create(self.name, self.options), self.tools):
                        self.say(f"asked for {self._what()} as queued resource {self.name}")
                        created = True
                elif state.word != said:
                    self.say(f"{self.name} is {state.word}")
                    said = state.word
            except Unanswered as silence:
                unanswered += 1
                if not self.seen and unanswered == _TRIES:
                    raise
                self._say_once(str(silence))
            time.sleep(self.options["poll_seconds"])
        return ""

    def delete(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Delete the nodes, and wait until they are gone."""
        asked = False
        while not stop():
            try:
                state = self.state()
                if state.word == GONE:
                    return
                if not asked and state.word != "DELETING":
                    asked = order(self.place.delete(self.name), self.tools, "NOT_FOUND")
            except Unanswered as silence:
                self._say_once(str(silence))
            time.sleep(self.options["poll_seconds"])

    def _what(self) -> str:
        slices, kind = self.options["slices"], self.options["accelerator_type"]
        how = " (spot)" if self.options["spot"] else ""
        return f"{f'{slices} x ' if slices > 1 else ''}{kind}{how}"

    def _say_once(self, what: str) -> None:
        if self._said != what:
            self.say(f"{what}; asking again")
            self._said = what


def node_names(name: str, slices: int) -> tuple[str, ...]:
    """Of the nodes of a queued resource."""
    return (name,) if slices == 1 else tuple(f"{name}-{number}" for number in range(slices))


def _refused(name: str, why: str) -> str:
    hints = [hint for code, hint in HINTS.items() if code.lower() in why.lower()]
    reason = "; ".join([why or "Google gives no reason", *hints[:1]])
    return f"{name} could not be had: {reason}"
