"""From the optimizer section of an experiment to an Optax transformation."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from dlresearch.config import Component, Optimizer, build, parameters_of, target_of
from dlresearch.errors import UserError
from dlresearch.optim.schedules import ToSteps
from dlresearch.patterns import first_match, match_mask


def make_optimizer(
    options: Optimizer,
    params: PyTree,
    total_steps: int,
    to_steps: ToSteps,
    where: str = "config.optimizer",
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The transformation from gradients to updates, and the learning rate of each step.

    Frozen parameters get updates of zero and no optimizer state. Learning-rate factors multiply the
    final update, decoupled weight decay included. Clipping is not done here: the training step does
    it, on gradients it has measured.

    Args:
      options: the section of the experiment.
      params: the parameters, or their shapes.
      total_steps: length of the run in optimizer steps.
      to_steps: turns a duration into steps of this run.
      where: path of `options` in the config, for messages.

    Raises:
      UserError: a pattern matches nothing, or the optimizer or schedule cannot be built.
    """
    factor = build(
        options.schedule,
        "schedule",
        f"{where}.schedule",
        total_steps=total_steps,
        to_steps=to_steps,
    )

    def learning_rate(step: Any) -> Any:
        return options.learning_rate * factor(step)

    if options.weight_decay:
        _require_decay(options, where)
        decay_mask = match_mask(options.decay_patterns, params, f"{where}.decay_patterns")
    else:
        decay_mask = jax.tree.map(lambda _: False, params)
    optimizer = build(
        Component(options.name, **options.arguments),
        "optimizer",
        where,
        learning_rate=learning_rate,
        weight_decay=options.weight_decay,
        decay_mask=decay_mask,
    )
    if options.freeze:
        frozen = match_mask(options.freeze, params, f"{where}.freeze")
        optimizer = optax.transforms.selective_transform(optimizer, freeze_mask=frozen)
    if options.learning_rate_factors:
        factors = first_match(
            options.learning_rate_factors, params, f"{where}.learning_rate_factors", default=1.0
        )
        optimizer = optax.chain(optimizer, _multiply(factors))
    return optimizer, learning_rate


def _require_decay(options: Optimizer, where: str) -> None:
    parameters = parameters_of(target_of(options, "optimizer", where))
    if missing := {"weight_decay", "decay_mask"} - parameters.keys():
        raise UserError(
            f"{where}.weight_decay: {options.name} has no parameter {' and no '.join(missing)}; "
            "give it these, or set weight_decay to 0"
        )


def _multiply(factors: PyTree[float]) -> optax.GradientTransformation:
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda update, f: update * f, updates, factors)
    )
