"""Which checkpoint of a run a user means."""

from dlresearch.errors import UserError
from dlresearch.training.checkpoints import Checkpoints


def choose_step(checkpoints: Checkpoints, which: str, best: str | None, setting: str) -> int:
    """The step of `newest`, `best` or the number in `which`.

    Args:
      best: `config.checkpoint.best` of the run.
      setting: where `which` comes from, for messages.

    Raises:
      UserError: there is no such checkpoint.
    """
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{setting}={which}: the run holds no finished checkpoint")
    if which == "newest":
        return steps[-1]
    if which == "best":
        if best is None:
            raise UserError(
                f"{setting}=best: the run's config.checkpoint.best does not name a metric"
            )
        step = checkpoints.best_step()
        if step is None:
            raise UserError(f"{setting}=best: {best} was not recorded for any checkpoint")
        return step
    if which.isdecimal() and int(which) in steps:
        return int(which)
    there = ", ".join(str(step) for step in steps)
    raise UserError(f"{setting}={which}: there are newest, best and {there}")
