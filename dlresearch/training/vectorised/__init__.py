"""Several runs of one experiment in one process, carried on by one program."""

from dlresearch.training.vectorised.loop import RunOf, train_together
from dlresearch.training.vectorised.together import Together

__all__ = ["RunOf", "Together", "train_together"]
