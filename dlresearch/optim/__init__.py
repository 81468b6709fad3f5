"""Optax optimizers, learning-rate schedules and the choice of parameters by path patterns."""

from dlresearch.optim.build import make_optimizer
from dlresearch.optim.patterns import first_match, match_mask, path_of

__all__ = ["first_match", "make_optimizer", "match_mask", "path_of"]
