"""Regression: one real number an example."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from dlresearch.errors import UserError
from dlresearch.tasks.supervised import Supervised, require
from dlresearch.tasks.task import Batch, MakeModel


class Regression(Supervised):
    """Squared error, or Huber's loss, against a real target.

    Args:
      make_model: from the trainer; the model gets `num_outputs=1`.
      inputs: key of the batch that the model reads.
      target: key of the targets, shape [batch].
      huber_delta: distance from which the loss grows linearly (Huber 1964); None is squared error,
        without the factor 1/2.
    """

    def __init__(
        self,
        make_model: MakeModel,
        inputs: str = "features",
        target: str = "target",
        huber_delta: float | None = None,
    ):
        super().__init__(make_model(num_outputs=1), inputs)
        self.target = target
        self.huber_delta = huber_delta

    def losses(
        self, outputs: Float[Array, "batch 1"], batch: Batch
    ) -> tuple[Float[Array, " batch"], dict[str, Float[Array, " batch"]]]:
        target = require(batch, self.target, "config.task.target").astype(jnp.float32)
        if outputs.shape != (*target.shape, 1):
            raise UserError(
                f"config.model: its output has shape {outputs.shape}, and regression on"
                f" {target.shape[0]} examples needs {(*target.shape, 1)}"
            )
        prediction = outputs[:, 0].astype(jnp.float32)
        squared_error = jnp.square(prediction - target)
        if self.huber_delta is None:
            return squared_error, {"squared_error": squared_error}
        huber = optax.huber_loss(prediction, target, delta=self.huber_delta)
        return huber, {"squared_error": squared_error}
