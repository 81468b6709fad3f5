"""Evaluators for the tasks of `toy_tasks`."""

import jax.numpy as jnp

from dlresearch.evaluation import Summed


class Size(Summed):
    """`size`: the mean square of what the task predicts, whatever that is, or of one of it."""

    def __init__(self, key: str | None = None):
        super().__init__()
        self.key = key

    def update(self, outputs, batch):
        outputs = outputs if self.key is None else outputs[self.key]
        squares = jnp.mean(jnp.square(outputs), axis=range(1, outputs.ndim))
        mask = batch["mask"]
        return {"examples": jnp.sum(mask), "squares": jnp.sum(jnp.where(mask, squares, 0.0))}

    def finish(self, sums):
        return {"size": sums["squares"] / sums["examples"], "examples": sums["examples"]}
