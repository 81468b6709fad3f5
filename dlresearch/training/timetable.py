"""What is due after which step of a run, and how many steps may pass in one call until then."""

from dlresearch.training.evaluations import Evaluation
from dlresearch.training.every import Every
from dlresearch.training.setup import Setup


class Timetable:
    """Of one run. All is a function of the step, so a run that resumes meets the same events."""

    def __init__(self, setup: Setup):
        self._setup, self._schedule = setup, setup.schedule

    def logs(self, step: int) -> bool:
        """Whether training metrics are recorded."""
        return step > 0 and (step % self._schedule.log == 0 or step == self._schedule.total)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is saved."""
        return step > 0 and (self._schedule.checkpoint.due(step) or step == self._schedule.total)

    def evaluations(self, step: int) -> list[Evaluation]:
        """What is evaluated."""
        total = self._schedule.total
        return [each for each in self._setup.evaluations.values() if each.due(step, total)]

    def anything(self, step: int) -> bool:
        """Whether any of these is due."""
        return self.logs(step) or self.saves(step) or bool(self.evaluations(step))

    def steps_of_next_call(self, step: int) -> int:
        """As many as fit before something is due, on a grid that a restart meets again."""
        several, setup, schedule = self._setup.steps_per_call, self._setup, self._schedule
        if several == 1 or step % several:
            return 1
        repeating = [schedule.checkpoint, Every(schedule.log)]
        repeating += [evaluation.every for evaluation in setup.evaluations.values()]
        changes = [stage.start for stage in setup.stages if stage.start > step]
        next_due = min([every.next(step) for every in repeating] + changes)
        if step + several > min(next_due, schedule.total):
            return 1
        alike = {setup.order.width(each) for each in range(step, step + several)}
        return several if len(alike) == 1 else 1
