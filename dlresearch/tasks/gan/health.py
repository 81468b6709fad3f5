"""Whether a GAN is well, from what a record says of its players."""

from collections.abc import Iterator, Mapping

from dlresearch.tasks.task import Hopeless

COLLAPSED = 0.1
"""Standard deviation of generated examples in a batch, as a share of that of real ones."""
_SETTLED = 0.05  # of the run; before it, a generator still makes one grey picture
_RUNAWAY = 1e5  # a logit; no loss here is at its best anywhere near


def told(metrics: Mapping[str, float], progress: float) -> Iterator[str]:
    """Lines that a user should see.

    Args:
      metrics: means since the last record, by `player/metric`.
      progress: the share of the run that is over.

    Raises:
      Hopeless: the discriminator's logits have run away.
    """
    for name in ("real_logit", "fake_logit"):
        value = metrics.get(f"discriminator/{name}", 0.0)
        if abs(value) > _RUNAWAY:
            raise Hopeless(
                f"discriminator/{name} is {value:.3g} on average; lower its learning rate, or add a"
                " penalty on its gradient (config.task.r1)"
            )
    diversity = metrics.get("generator/diversity", 1.0)
    if progress > _SETTLED and diversity < COLLAPSED:
        yield (
            f"mode collapse? generated examples of a batch differ by {diversity:.0%} of what real"
            " ones do (generator/diversity)"
        )
