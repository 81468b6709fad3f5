"""How often the most likely class is the right one."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Summed
from dlresearch.tasks import Batch, require


class ClassificationEvaluator(Summed):
    """`accuracy`, `top_k_accuracy` if asked for, and `loss`, the cross-entropy in nats.

    Args:
      labels: key of the integer labels, shape [batch].
      top_k: also count labels among this many most likely classes; 1 adds nothing.
    """

    def __init__(self, labels: str = "label", top_k: int = 1):
        super().__init__()
        if top_k < 1:
            raise UserError(f"top_k={top_k}: must be at least 1")
        self.labels = labels
        self.top_k = top_k

    def update(self, outputs: Float[Array, "batch classes"], batch: Batch) -> dict[str, Array]:
        labels = require(batch, self.labels, "labels")
        mask = batch["mask"]
        logits = outputs.astype(jnp.float32)
        classes = logits.shape[-1]
        check_outputs(logits, labels)
        if self.top_k > classes:
            raise UserError(f"top_k={self.top_k}: there are {classes} classes")
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        sums = {
            "examples": jnp.sum(mask),
            "correct": jnp.sum((jnp.argmax(logits, axis=-1) == labels) & mask),
            "loss": jnp.sum(jnp.where(mask, losses, 0.0)),
        }
        if self.top_k > 1:
            _, best = jax.lax.top_k(logits, self.top_k)
            sums["correct_in_top_k"] = jnp.sum(jnp.any(best == labels[:, None], axis=-1) & mask)
        return sums

    def finish(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        examples = sums["examples"]
        metrics = {
            "accuracy": sums["correct"] / examples,
            "loss": sums["loss"] / examples,
            "examples": examples,
        }
        if self.top_k > 1:
            metrics[f"top_{self.top_k}_accuracy"] = sums["correct_in_top_k"] / examples
        return metrics


def check_outputs(outputs: Array, labels: Array) -> None:
    """Raises UserError where there is not one output for each class and example."""
    if outputs.shape[:-1] != labels.shape or outputs.shape[-1:] == (1,):
        raise UserError(
            f"the model gives {list(outputs.shape)} and labels are {list(labels.shape)}; it"
            " takes one output for each class and example"
        )
