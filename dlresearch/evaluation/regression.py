"""How far predictions are from the target."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Summed
from dlresearch.tasks import Batch, require


class RegressionEvaluator(Summed):
    """`rmse` and `mae` in units of the target, and `r2`, the share of its variance explained.

    Args:
      target: key of the targets, shape [batch].
    """

    def __init__(self, target: str = "target"):
        super().__init__()
        self.target = target

    def update(self, outputs: Float[Array, "batch 1"], batch: Batch) -> dict[str, Array]:
        target = require(batch, self.target, "target")
        mask = batch["mask"]
        if outputs.shape != (*target.shape, 1):
            raise UserError(
                f"the model gives {list(outputs.shape)} and targets are {list(target.shape)}; it"
                " takes one output for each example"
            )
        error = jnp.where(mask, outputs[:, 0].astype(jnp.float32) - target, 0.0)
        target = jnp.where(mask, target, 0.0)
        return {
            "examples": jnp.sum(mask),
            "squared_error": jnp.sum(jnp.square(error)),
            "absolute_error": jnp.sum(jnp.abs(error)),
            "target": jnp.sum(target),
            "squared_target": jnp.sum(jnp.square(target)),
        }

    def finish(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        examples = sums["examples"]
        variance = sums["squared_target"] / examples - (sums["target"] / examples) ** 2
        mean_squared_error = sums["squared_error"] / examples
        return {
            "rmse": np.sqrt(mean_squared_error),
            "mae": sums["absolute_error"] / examples,
            "r2": 1 - mean_squared_error / variance if variance > 0 else np.nan,
            "examples": examples,
        }
