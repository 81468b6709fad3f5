"""What was recorded in training since the last time, and whether it says to stop."""

from dlresearch.tasks import Hopeless
from dlresearch.training.console import say
from dlresearch.training.setup import Setup
from dlresearch.training.state import Recorded


class Diverged(Exception):
    """Losses or gradients that were not finite; the message names the steps."""


def training_means(setup: Setup, step: int, recorded: Recorded) -> dict[str, float]:
    """Training metrics since the last record, for one at `step`.

    Raises:
      Diverged: steps among them were not finite, and the config does not say to skip such; or the
        task sees no sense in going on.
    """
    count = int(recorded.nonfinite_steps)
    metrics = recorded.means()
    means = {f"train/{name}": value for name, value in metrics.items()}
    if count:
        first, last = int(recorded.first_nonfinite), int(recorded.last_nonfinite)
        steps = f"step {first + 1}" if first == last else f"steps {first + 1} to {last + 1}"
        what = f"loss or gradients of {count} updates were not finite ({steps})"
        if setup.experiment.nonfinite == "stop":
            raise Diverged(f"{what}; they were not applied")
        if not means:
            raise Diverged(f"{what}; none between two records could be applied")
        say(f"{what}; skipped")
        means["train/nonfinite_steps"] = float(count)
    try:
        for line in setup.task.health(metrics, step / setup.schedule.total):
            say(line)
    except Hopeless as reason:
        raise Diverged(str(reason)) from None
    return means
