"""When something that happens again and again is due."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Every:
    """Each multiple of a period, to the nearest step.

    The period is in steps and not rounded: with 22.5 steps an epoch, what happens every epoch is
    due at 23, 45, 68 ..., and the last time at the end of the run, not shortly before it.
    """

    period: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "period", max(1.0, self.period))

    def due(self, step: int) -> bool:
        """Whether it is due after `step` steps; never at 0."""
        return step > 0 and step == self._time(round(step / self.period))

    def next(self, step: int) -> int:
        """The first step after `step` at which it is due."""
        count = int(step / self.period)
        while self._time(count) <= step:
            count += 1
        return self._time(count)

    def _time(self, count: int) -> int:
        return math.floor(count * self.period + 0.5)
