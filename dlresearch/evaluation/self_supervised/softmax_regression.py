"""Softmax regressions with several learning rates at once, on features that stay on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from dlresearch import preemption
from dlresearch.evaluation.self_supervised.features_of import Labelled
from dlresearch.parallel import put_replicated, replicated

_MOMENTUM = 0.9
_TESTED = 1024  # examples in a block


class Weights(NamedTuple):
    """Of all regressions; the axis `rate` goes through the learning rates."""

    kernel: Float[Array, "features rate classes"]
    bias: Float[Array, "rate classes"]


class Placed(NamedTuple):
    """Labelled features on the devices."""

    features: Float[Array, "example features"]
    labels: Int[Array, " example"]


class Tested(NamedTuple):
    """For each learning rate the share of examples classified rightly, and the mean cross-entropy
    in nats.
    """

    accuracy: Float[np.ndarray, " rate"]
    loss: Float[np.ndarray, " rate"]


class SoftmaxRegression:
    """Stochastic gradient descent on the cross-entropy of linear classifiers: momentum 0.9, the
    learning rate going down to 0 along a cosine, no weight decay, weights that start at 0. An epoch
    has the examples in an order of its own, less those that do not fill a batch.

    One matrix product is that of all learning rates. Every device has all features and does the
    same.

    Args:
      num_classes: outputs.
      epochs: of a fit.
      batch_size: in training; as many as there are examples if that is less.
      mesh: the devices; None is the default one.
    """

    def __init__(self, num_classes: int, epochs: int, batch_size: int, mesh: Mesh | None):
        self._num_classes, self._epochs, self._batch_size = num_classes, epochs, batch_size
        self._mesh = mesh
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def put(self, examples: Labelled) -> Placed:
        """The same on the devices, as the other methods take them."""
        return Placed(**self._everywhere(examples._asdict()))

    def fit(
        self,
        examples: Placed,
        rows: Int[np.ndarray, " row"],
        learning_rates: tuple[float, ...],
        epochs: int | None = None,
    ) -> Weights:
        """Weights learned from these rows of `examples`; `epochs` in place of the usual number."""
        epochs = self._epochs if epochs is None else epochs
        size = min(self._batch_size, len(rows))
        steps = len(rows) // size
        shape = (examples.features.shape[1], len(learning_rates), self._num_classes)
        start = {"kernel": np.zeros(shape, np.float32), "bias": np.zeros(shape[1:], np.float32)}
        weights = Weights(**self._everywhere(start))
        momentum = Weights(**self._everywhere(start))
        rng = np.random.default_rng(0)
        for epoch in range(epochs):
            preemption.check()
            progress = np.arange(epoch * steps, (epoch + 1) * steps) / (epochs * steps)
            schedule = 0.5 * (1 + np.cos(np.pi * progress))
            plan = {
                "rows": rng.permutation(rows)[: steps * size].reshape(steps, size),
                "rates": np.float32(np.outer(schedule, learning_rates)),
            }
            plan = self._everywhere(plan)
            weights, momentum = self._call(self._epoch, weights, momentum, examples, plan)
        return weights

    def test(self, weights: Weights, examples: Placed, rows: Int[np.ndarray, " row"]) -> Tested:
        """On these rows of `examples`."""
        blocks = -(-len(rows) // _TESTED)
        places = np.arange(blocks * _TESTED)
        plan = {
            "rows": rows[np.minimum(places, len(rows) - 1)].reshape(blocks, _TESTED),
            "mask": (places < len(rows)).reshape(blocks, _TESTED),
        }
        sums = self._call(self._test, weights, examples, self._everywhere(plan))
        # Added up here, as a sum over a million would round in float32.
        totals = [np.asarray(each, np.float64).sum(axis=0) for each in jax.device_get(sums)]
        return Tested(*(total / len(rows) for total in totals))

    # --- on the devices --------------------------------------------------------------------------

    def _epoch(
        self, weights: Weights, momentum: Weights, examples: Placed, plan: dict[str, Array]
    ) -> tuple[Weights, Weights]:
        def step(
            carried: tuple[Weights, Weights], given: dict[str, Array]
        ) -> tuple[tuple[Weights, Weights], None]:
            weights, momentum = carried
            features, labels = (each[given["rows"]] for each in examples)

            def loss(weights: Weights) -> Float[Array, ""]:
                losses = _losses(_logits(weights, features), labels)
                return losses.mean(axis=0).sum()  # the regressions have no weights in common

            gradients = jax.grad(loss)(weights)
            momentum = jax.tree.map(lambda old, new: _MOMENTUM * old + new, momentum, gradients)
            rates = given["rates"][:, None]
            weights = jax.tree.map(lambda old, by: old - rates * by, weights, momentum)
            return (weights, momentum), None

        carried, _ = jax.lax.scan(step, (weights, momentum), plan)
        return carried

    def _test(self, weights: Weights, examples: Placed, plan: dict[str, Array]) -> PyTree:
        def block(given: dict[str, Array]) -> PyTree:
            features, labels = (each[given["rows"]] for each in examples)
            logits, mask = _logits(weights, features), given["mask"][:, None]
            right = (logits.argmax(axis=2) == labels[:, None]) & mask
            return right.sum(axis=0), jnp.where(mask, _losses(logits, labels), 0).sum(axis=0)

        return jax.lax.map(block, plan)

    def _call(self, function: Callable[..., PyTree], *arguments: Any) -> PyTree:
        """`function`, compiled once for arguments of these shapes."""
        shapes = tuple(values.shape for values in jax.tree.leaves(arguments))
        key = function.__name__, shapes
        if key not in self._compiled:
            whole = None if self._mesh is None else replicated(self._mesh)
            lowered = jax.jit(function, out_shardings=whole).lower(*arguments)
            self._compiled[key] = preemption.interruptible(lowered.compile)
        return self._compiled[key](*arguments)

    def _everywhere(self, arrays: dict[str, np.ndarray]) -> dict[str, Array]:
        if self._mesh is None:
            return jax.device_put(arrays)
        return put_replicated(self._mesh, arrays)


def _logits(
    weights: Weights, features: Float[Array, "batch features"]
) -> Float[Array, "batch rate classes"]:
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("bf,frc->brc", features, weights.kernel, precision=highest) + weights.bias


def _losses(
    logits: Float[Array, "batch rate classes"], labels: Int[Array, " batch"]
) -> Float[Array, "batch rate"]:
    labels = jnp.broadcast_to(labels[:, None], logits.shape[:2])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
