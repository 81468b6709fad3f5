"""Optax optimizers and learning-rate schedules."""

from dlresearch.optim.build import make_optimizer

__all__ = ["make_optimizer"]
