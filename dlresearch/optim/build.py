"""From the optimizer section of an experiment to an Optax transformation."""

from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from dlresearch.config import Component, Optimizer, Update, build, parameters_of, target_of
from dlresearch.errors import UserError
from dlresearch.optim.layer_decay import layer_factors
from dlresearch.optim.lookahead import lookahead
from dlresearch.optim.schedules import ToSteps
from dlresearch.patterns import first_match, match_mask, path_of


def make_optimizer(
    options: Optimizer,
    params: PyTree,
    total_steps: int,
    to_steps: ToSteps,
    where: str = "config.optimizer",
    updates: Fraction = Fraction(1),
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The transformation from gradients to updates, and the learning rate of each step.

    The learning rate is that of the parameters that are in no group. Frozen parameters get updates
    of zero and no optimizer state. Learning-rate factors multiply the final update, decoupled
    weight decay included. Clipping is not done here: the training step does it, on gradients it has
    measured.

    Args:
      options: the section of the experiment.
      params: the parameters, or their shapes.
      total_steps: length of the run in optimizer steps.
      to_steps: turns a duration into steps of this run.
      where: path of `options` in the config, for messages.
      updates: in a step, on average; schedules go by steps all the same.

    Raises:
      UserError: a pattern matches nothing, or the optimizer or schedule cannot be built.
    """
    schedules = _Schedules(total_steps, to_steps, updates)
    optimizer, learning_rate = _make_update(options, params, schedules, where)
    if options.groups:
        optimizer = _grouped(optimizer, options, params, schedules, where)
    if options.freeze:
        frozen = match_mask(options.freeze, params, f"{where}.freeze")
        optimizer = optax.transforms.selective_transform(optimizer, freeze_mask=frozen)
    if options.learning_rate_factors:
        factors = first_match(
            options.learning_rate_factors, params, f"{where}.learning_rate_factors", default=1.0
        )
        optimizer = optax.chain(optimizer, _multiply(factors))
    if options.layer_decay != 1:
        factors = layer_factors(params, options.layer_decay, f"{where}.layer_decay")
        optimizer = optax.chain(optimizer, _multiply(factors))
    if options.lookahead.every:
        optimizer = lookahead(optimizer, options.lookahead, total_steps)
    return optimizer, learning_rate


@dataclass(frozen=True)
class _Schedules:
    """What the learning rates of a run go by."""

    total_steps: int
    to_steps: ToSteps
    updates: Fraction

    def step_of(self, update: Any) -> Any:
        """The step in which an update is made."""
        return update * self.updates.denominator // self.updates.numerator


def _make_update(
    options: Update, params: PyTree, schedules: _Schedules, where: str
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The named optimizer with its learning rate and weight decay."""
    factor = build(
        options.schedule,
        "schedule",
        f"{where}.schedule",
        total_steps=schedules.total_steps,
        to_steps=schedules.to_steps,
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
        learning_rate=lambda update: learning_rate(schedules.step_of(update)),
        weight_decay=options.weight_decay,
        decay_mask=decay_mask,
    )
    return optimizer, learning_rate


def _grouped(
    others: optax.GradientTransformation,
    options: Optimizer,
    params: PyTree,
    schedules: _Schedules,
    where: str,
) -> optax.GradientTransformation:
    """Each group with its own optimizer, and `others` for what is in none."""
    ungrouped = ""  # no name of a group
    transformations: dict[Hashable, optax.GradientTransformation] = {ungrouped: others}
    labels = jax.tree.map(lambda _: ungrouped, params)
    for name, group in options.groups.items():
        path = f"{where}.groups.{name}"
        transformations[name], _ = _make_update(group, params, schedules, path)
        inside = match_mask(group.parameters, params, f"{path}.parameters")
        for (place, taken), is_in in zip(
            jax.tree_util.tree_leaves_with_path(labels), jax.tree.leaves(inside), strict=True
        ):
            if is_in and taken != ungrouped:
                raise UserError(f"{path}.parameters: {path_of(place)} is in group {taken!r}, too")
        labels = jax.tree.map(
            lambda label, is_in, name=name: name if is_in else label, labels, inside
        )
    return optax.partition(transformations, labels)


def _require_decay(options: Update, where: str) -> None:
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
