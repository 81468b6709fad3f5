"""A small image classifier, trained and tested within an evaluation."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from dlresearch import preemption
from dlresearch.models import ConvNet, functional
from dlresearch.parallel import check_batch_size, process_rows, put_batch, replicated
from dlresearch.tasks import Batch

_LEARNING_RATE = 3e-3  # the highest, after 30 % of the steps
_WAIT_EVERY = 50  # steps: no more are ever under way, so that their batches fit in memory


class LabelledImages(NamedTuple):
    """Images on the host; uint8, or floats between -1 and 1."""

    images: Shaped[np.ndarray, "example height width channels"]
    labels: Int[np.ndarray, " example"]


class Fitted(NamedTuple):
    """What training found; `state` are the averages of the normalisation."""

    params: PyTree
    state: PyTree


class SmallClassifier:
    """A `ConvNet` with batch normalisation, trained by Adam on a one-cycle schedule (Smith 2018,
    arXiv:1803.09820) with a peak of 0.003, without augmentation. The same data always give the same
    parameters.

    Args:
      num_classes: outputs.
      widths: channels of each stage, a 3x3 convolution that ends in halving the image.
      steps: of training.
      batch_size: in training and testing.
      mesh: the devices that share a batch; None is the default one.

    Raises:
      UserError: sizes that cannot be.
    """

    def __init__(
        self,
        num_classes: int,
        widths: tuple[int, ...],
        steps: int,
        batch_size: int,
        mesh: Mesh | None,
    ):
        if mesh is not None:
            check_batch_size(mesh, batch_size, "train_batch_size")
        self._model = functional(
            ConvNet, num_outputs=num_classes, widths=widths, convs_per_stage=1, head="flatten"
        )
        self._optimizer = optax.adam(optax.cosine_onecycle_schedule(max(steps, 4), _LEARNING_RATE))
        self._steps, self._batch_size, self._mesh = steps, batch_size, mesh
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def fit(self, data: LabelledImages, most_steps: int | None = None) -> Fitted:
        """Parameters trained on `data`, each epoch in an order of its own; `most_steps` stops
        early.
        """
        steps = self._steps if most_steps is None else min(self._steps, most_steps)
        images = np.zeros((1, *data.images.shape[1:]), np.float32)
        progress = self._call(self._start, images)
        for step, rows in zip(range(steps), self._rows(len(data.labels)), strict=False):
            preemption.check()
            progress = self._call(self._step, progress, self._put(data, rows))
            if step % _WAIT_EVERY == 0:
                jax.block_until_ready(progress)
        return progress[0]

    def accuracy(self, fitted: Fitted, data: LabelledImages) -> float:
        """The share of `data` that is given its label."""
        count, right = len(data.labels), []
        for first in range(0, count, self._batch_size):
            preemption.check()
            rows = np.arange(first, first + self._batch_size)
            batch = self._put(data, np.minimum(rows, count - 1))
            right.append((self._call(self._right, fitted, batch), rows < count))
        return sum(int((jax.device_get(each) & there).sum()) for each, there in right) / count

    # --- on the devices --------------------------------------------------------------------------

    def _start(self, images: Float[Array, "1 height width channels"]) -> PyTree:
        params, state = self._model.init(jax.random.key(0), images)
        return Fitted(params, state), self._optimizer.init(params)

    def _step(self, progress: PyTree, batch: Batch) -> PyTree:
        fitted, optimizer = progress

        def loss(params: PyTree) -> tuple[Float[Array, ""], PyTree]:
            logits, state = self._model.apply(
                params, fitted.state, _scaled(batch["image"]), train=True
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return losses.mean(), state

        gradients, state = jax.grad(loss, has_aux=True)(fitted.params)
        updates, optimizer = self._optimizer.update(gradients, optimizer)
        return Fitted(optax.apply_updates(fitted.params, updates), state), optimizer

    def _right(self, fitted: Fitted, batch: Batch) -> Bool[Array, " batch"]:
        images = _scaled(batch["image"])
        logits, _ = self._model.apply(fitted.params, fitted.state, images, train=False)
        return logits.argmax(axis=-1) == batch["label"]

    def _call(self, function: Callable[..., PyTree], *arguments: Any) -> PyTree:
        """`function` of arguments of always the same shapes, compiled once."""
        name = function.__name__
        if name not in self._compiled:
            whole = None if self._mesh is None else replicated(self._mesh)
            lowered = jax.jit(function, out_shardings=whole).lower(*arguments)
            self._compiled[name] = preemption.interruptible(lowered.compile)
        return self._compiled[name](*arguments)

    def _put(self, data: LabelledImages, rows: Int[np.ndarray, " row"]) -> Batch:
        if self._mesh is None:
            return jax.device_put({"image": data.images[rows], "label": data.labels[rows]})
        rows = rows[process_rows(self._mesh, len(rows))]
        return put_batch(self._mesh, {"image": data.images[rows], "label": data.labels[rows]})

    def _rows(self, count: int) -> Iterator[Int[np.ndarray, " row"]]:
        """The examples of each step, without end: all of them once before any for a second time."""
        rng, left = np.random.default_rng(0), np.zeros(0, int)
        while True:
            while len(left) < self._batch_size:
                left = np.concatenate([left, rng.permutation(count)])
            yield left[: self._batch_size]
            left = left[self._batch_size :]


def _scaled(images: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """From -1 to 1."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 127.5 - 1
    return images.astype(jnp.float32)
