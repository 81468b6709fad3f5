"""From a filled-in config to a frozen `Experiment`: mistakes are found before anything runs."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from dlresearch.config.place import Place
from dlresearch.config.schema import Experiment, Optimizer, Update
from dlresearch.config.values import coerce
from dlresearch.errors import UserError


def validate(config: ConfigDict | Mapping[str, Any] | Experiment) -> Experiment:
    """Checks keys, types, components, their arguments and ranges; fills in the defaults.

    Raises UserError with the full path for the first mistake. Imports the components it names.
    """
    experiment = coerce(config, Place("config", Experiment))
    _check_step(experiment)
    _check_optimizer(experiment.optimizer, "config.optimizer")
    for player, optimizer in experiment.optimizers.items():
        _check_optimizer(optimizer, f"config.optimizers.{player}")
    start = experiment.start_from
    _check_patterns([pattern for pattern, _ in start.rules], "config.start_from.rules")
    _check_patterns(start.skip, "config.start_from.skip")
    return experiment


def _check_step(experiment: Experiment) -> None:
    if experiment.duration.unit == "percent":
        raise UserError(
            f"config.duration: '{experiment.duration}' is a part of the run itself; "
            "give steps, epochs or examples"
        )
    if experiment.batch_size % experiment.accumulate:
        raise UserError(
            f"config.accumulate: {experiment.accumulate} does not divide "
            f"config.batch_size={experiment.batch_size}"
        )
    if experiment.seed >= 2**32:
        # jax.random.key keeps the lowest 32 bits only: larger seeds would repeat smaller ones.
        raise UserError(f"config.seed: must be below 2**32, got {experiment.seed}")
    if experiment.average.decay >= 1:
        raise UserError(f"config.average.decay: must be below 1, got {experiment.average.decay}")
    for axis in ("data", "fsdp", "tensor"):
        if getattr(experiment.mesh, axis) == 0:
            raise UserError(
                f"config.mesh.{axis}: must be at least 1, or -1 for all devices left, got 0"
            )


def _check_optimizer(optimizer: Optimizer, path: str) -> None:
    updates: dict[str, Update] = {
        path: optimizer,
        **{f"{path}.groups.{name}": group for name, group in optimizer.groups.items()},
    }
    for where, update in updates.items():
        for name in ("learning_rate", "weight_decay"):
            if getattr(update, name) == math.inf:
                raise UserError(f"{where}.{name}: must be finite")
        _check_patterns(update.decay_patterns, f"{where}.decay_patterns")
    for name, group in optimizer.groups.items():
        where = f"{path}.groups.{name}.parameters"
        if not group.parameters:
            raise UserError(f"{where}: no pattern; say which parameters are in the group")
        _check_patterns(group.parameters, where)
    if optimizer.lookahead.decay > 1:
        raise UserError(f"{path}.lookahead.decay: must be at most 1")
    if optimizer.clip_norm == 0:
        raise UserError(f"{path}.clip_norm: 0 would stop training; use None for no clipping")
    for i, (_, factor) in enumerate(optimizer.learning_rate_factors):
        if not 0 <= factor < math.inf:
            raise UserError(f"{path}.learning_rate_factors.{i}: must be at least 0, got {factor}")
    _check_patterns(optimizer.freeze, f"{path}.freeze")
    factors = [pattern for pattern, _ in optimizer.learning_rate_factors]
    _check_patterns(factors, f"{path}.learning_rate_factors")


def _check_patterns(patterns: Sequence[str], path: str) -> None:
    for i, pattern in enumerate(patterns):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{path}.{i}: {pattern!r} is no regular expression: {error}") from None
