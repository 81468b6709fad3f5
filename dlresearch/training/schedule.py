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

        def steps(duration: Duration, total: int | None) -> float:
            return duration.exact_steps(
                steps_per_epoch=epoch, batch_size=examples_per_step, total_steps=total
            )

        total = max(1, _nearest(steps(experiment.duration, None)))
        return Schedule(
            total=total,
            epoch=epoch,
            examples_per_step=examples_per_step,
            log=max(1, _nearest(steps(experiment.log.every, total))),
            checkpoint=Every(steps(experiment.checkpoint.every, total)),
        )

    def to_steps(self, duration: Duration | str | int) -> int:
        """A duration of this run in steps."""
        return _nearest(self._steps(Duration.parse(duration)))

    def every(self, duration: Duration) -> Every:
        """When what has this period is due."""
        return Every(self._steps(duration))

    def _steps(self, duration: Duration) -> float:
        return duration.exact_steps(
            steps_per_epoch=self.epoch,
            batch_size=self.examples_per_step,
            total_steps=self.total,
        )


def _nearest(steps: float) -> int:
    return math.floor(steps + 0.5)
