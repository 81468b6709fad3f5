"""Runs in turn, so many at once: what keeps a sweep going where no scheduler does."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from launch.sweeps.points import Point

GOING_ON = ("queued", "running", "restarting")
"""The states of a run that is not over; `unstarted` is one of its own."""


@dataclass
class Pool:
    """Starts points while there is room and waits for them; all it knows it asks for.

    Started again after it was killed it finds the runs as they are: what ended is not started, what
    goes on is waited for.

    Attributes:
      start: hands a run to a backend, and returns at once.
      state: of a run, as `status` names it.
      max_parallel: runs that may go on at once.
      poll_seconds: between two looks.
      again: states from which a run is started once more, such as `failed`.
      watch: told the points that go on, at each look; a search prunes there.
      sleep: how to wait.
    """

    start: Callable[[Point], None]
    state: Callable[[Point], str]
    max_parallel: int
    poll_seconds: float = 5.0
    again: frozenset[str] = frozenset()
    watch: Callable[[Sequence[Point]], None] = lambda points: None
    sleep: Callable[[float], None] = time.sleep
    _going_on: list[Point] = field(default_factory=list, init=False)

    def run(self, points: Iterable[Point]) -> Iterator[tuple[Point, str]]:
        """Each point with its final state, as they end.

        A point is taken from `points` only when there is room for it, so that a search may make it
        from all that ended before.
        """
        waiting = iter(points)
        while True:
            yield from self._fill(waiting)
            if not self._going_on:
                return
            self.sleep(self.poll_seconds)
            yield from self._look()
            if self._going_on:
                self.watch(tuple(self._going_on))

    def _fill(self, waiting: Iterator[Point]) -> Iterator[tuple[Point, str]]:
        while len(self._going_on) < self.max_parallel:
            each = next(waiting, None)
            if each is None:
                return
            state = self.state(each)
            if state == "unstarted" or state in self.again:
                self.start(each)
            elif state not in GOING_ON:
                yield each, state
                continue
            self._going_on.append(each)

    def _look(self) -> Iterator[tuple[Point, str]]:
        for each in tuple(self._going_on):
            state = self.state(each)
            if state not in GOING_ON and state != "unstarted":
                self._going_on.remove(each)
                yield each, state
