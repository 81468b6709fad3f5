"""Optax optimizers and learning-rate schedules."""

from dlresearch.optim.build import make_optimizer
from dlresearch.optim.lazy import lazily_regularised

__all__ = ["lazily_regularised", "make_optimizer"]
