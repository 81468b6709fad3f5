"""Regression: one real number an example, or several."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from dlresearch.errors import UserError
from dlresearch.tasks.supervised import Supervised, require
from dlresearch.tasks.task import Batch, MakeModel


class Regression(Supervised):
    """Squared error, or Huber's loss, against a real target, or the mean over several.

    Args:
      make_model: from the trainer; the model gets `num_outputs`, one for each target.
      inputs: key of the batch that the model reads, or several keys of what it reads in this order.
      target: key of the targets, shape [batch], or [batch, num_targets].
      num_targets: None is one number an example, without an axis of its own.
      huber_delta: distance from which the loss grows linearly (Huber 1964); None is squared error,
        without the factor 1/2.

    Raises:
      UserError: a number of targets below 1.
    """

    def __init__(
        self,
        make_model: MakeModel,
        inputs: str | tuple[str, ...] = "features",
        target: str = "target",
        num_targets: int | None = None,
        huber_delta: float | None = None,
    ):
        if num_targets is not None and num_targets < 1:
            raise UserError(f"config.task.num_targets: {num_targets} is not at least 1")
        super().__init__(make_model(num_outputs=num_targets or 1), inputs)
        self.target = target
        self.num_targets = num_targets
        self.huber_delta = huber_delta

    def losses(
        self, outputs: Float[Array, "batch targets"], batch: Batch
    ) -> tuple[Float[Array, " batch"], dict[str, Float[Array, " batch"]]]:
        target = require(batch, self.target, "config.task.target").astype(jnp.float32)
        if target.shape[1:] != (() if self.num_targets is None else (self.num_targets,)):
            raise UserError(
                f"config.task.target: {self.target!r} has shape {list(target.shape)}; set"
                " num_targets to the size of its second axis, or to None where it has none"
            )
        if outputs.shape != (len(target), self.num_targets or 1):
            raise UserError(
                f"config.model: its output has shape {outputs.shape}, and regression on"
                f" {target.shape[0]} examples needs {(len(target), self.num_targets or 1)}"
            )
        prediction = outputs.astype(jnp.float32).reshape(target.shape)
        squared_error = _mean(jnp.square(prediction - target))
        if self.huber_delta is None:
            return squared_error, {"squared_error": squared_error}
        huber = _mean(optax.huber_loss(prediction, target, delta=self.huber_delta))
        return huber, {"squared_error": squared_error}


def _mean(values: Float[Array, "batch *targets"]) -> Float[Array, " batch"]:
    """Of each example."""
    return values if values.ndim == 1 else jnp.mean(values, axis=1)
