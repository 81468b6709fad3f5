"""When things happen in a run, in steps."""

import math
from dataclasses import dataclass

from dlresearch.config import Duration, Experiment
from dlresearch.training.every import Every


@dataclass(frozen=True)
class Schedule:
    """When things happen.

    Attributes:
      total: steps of the run.
      epoch: steps of an epoch.
      examples_per_step: over all devices.
      log: steps between two records; whole, as the step itself starts the means anew.
      checkpoint: when to save, beside the end.
    """

    total: int
    epoch: float
    examples_per_step: int
    log: int
    checkpoint: Every

    @staticmethod
    def of(experiment: Experiment, epoch: float, examples_per_step: int) -> "Schedule":
        """That of an experiment, for epochs of so many steps."""
        total = max(1, _nearest(_exact(experiment.duration, epoch, examples_per_step, None)))
        log = _exact(experiment.log.every, epoch, examples_per_step, total)
        checkpoint = _exact(experiment.checkpoint.every, epoch, examples_per_step, total)
        return Schedule(total, epoch, examples_per_step, max(1, _nearest(log)), Every(checkpoint))

    def to_steps(self, duration: Duration | str | int) -> int:
        """A duration of this run in steps."""
        return _nearest(self._exact(Duration.parse(duration)))

    def every(self, duration: Duration) -> Every:
        """When what has this period is due."""
        return Every(self._exact(duration))

    def _exact(self, duration: Duration) -> float:
        return _exact(duration, self.epoch, self.examples_per_step, self.total)


def _exact(duration: Duration, epoch: float, examples: int, total: int | None) -> float:
    return duration.exact_steps(steps_per_epoch=epoch, batch_size=examples, total_steps=total)


def _nearest(steps: float) -> int:
    return math.floor(steps + 0.5)
