"""Evaluators for the tasks of `toy_tasks`."""

import jax.numpy as jnp
import optax

from dlresearch.evaluation import Summed


class Size(Summed):
    """`size`: the mean square of what the task predicts, whatever that is."""

    def update(self, outputs, batch):
        squares = jnp.mean(jnp.square(outputs), axis=range(1, outputs.ndim))
        mask = batch["mask"]
        return {"examples": jnp.sum(mask), "squares": jnp.sum(jnp.where(mask, squares, 0.0))}

    def finish(self, sums):
        return {"size": sums["squares"] / sums["examples"], "examples": sums["examples"]}


class NextToken(Summed):
    """`loss`: cross-entropy of the next token in nats, and the share that is `correct`."""

    def update(self, outputs, batch):
        next_tokens, mask = batch["tokens"][:, 1:], batch["mask"]
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, next_tokens)
        correct = jnp.argmax(outputs, axis=-1) == next_tokens
        return {
            "examples": jnp.sum(mask),
            "loss": jnp.sum(jnp.where(mask, jnp.mean(losses, axis=1), 0.0)),
            "correct": jnp.sum(jnp.where(mask, jnp.mean(correct, axis=1), 0.0)),
        }

    def finish(self, sums):
        examples = sums["examples"]
        return {
            "loss": sums["loss"] / examples,
            "correct": sums["correct"] / examples,
            "examples": examples,
        }
