"""Optimizers of players with a lazy regulariser (Karras et al. 2020, arXiv:1912.04958, app. B)."""

from dataclasses import replace
from typing import TypeVar

from dlresearch.config import Optimizer, Update, parameters_of, target_of

Options = TypeVar("Options", bound=Update)
_DECAYS = ("b1", "b2")


def lazily_regularised(options: Optimizer, every: int, where: str) -> Optimizer:
    """As `options`, where every `every` steps make one update more than `options` is meant for.

    With c = every / (every + 1), the learning rate becomes c times what it is, and the decay rates
    `b1` and `b2`, where the optimizer has them, become their power c: over as many steps both come
    to the same.

    Args:
      where: path of `options` in the config, for messages.
    """
    share = every / (every + 1)
    groups = {
        name: _corrected(group, share, f"{where}.groups.{name}")
        for name, group in options.groups.items()
    }
    return replace(_corrected(options, share, where), groups=groups)


def _corrected(options: Options, share: float, where: str) -> Options:
    parameters = parameters_of(target_of(options, "optimizer", where))
    decays = {
        name: options.arguments.get(name, parameters[name].default)
        for name in _DECAYS
        if name in parameters
    }
    return replace(
        options,
        learning_rate=options.learning_rate * share,
        arguments={
            **options.arguments,
            **{
                name: value**share
                for name, value in decays.items()
                if isinstance(value, (int, float))
            },
        },
    )
