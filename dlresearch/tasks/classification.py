"""Classification: one of several classes an example."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Shaped

from dlresearch.data import check_labels
from dlresearch.errors import UserError, suggest
from dlresearch.tasks.supervised import Supervised, require
from dlresearch.tasks.task import Batch, MakeModel

# Of 1 - p in the focal loss: a power below 1 has an infinite slope at 0.
_SMALLEST_MISS = 1e-12


class Classification(Supervised):
    """Softmax cross-entropy against integer labels, or against shares of the classes.

    Shares are what an augmentation that mixes examples makes of integer labels. `accuracy` is then
    the share of the most likely class.

    With target shares q (after smoothing) and predicted p, the loss of an example is
    `-sum_c w_c q_c (1 - p_c)^focal_gamma log p_c`. The weights w are scaled to a mean of 1 over the
    training set, so only their ratios matter, as in PyTorch. The run takes the mean over examples
    of a batch, where PyTorch divides by the weights in the batch: that would weigh an example by
    what else is in the batch, and depend on how a batch is split.

    Args:
      make_model: from the trainer; the model gets `num_outputs`, the number of classes.
      metadata: of the training source, from the trainer.
      inputs: key of the batch that the model reads, or several keys of what it reads in this order.
      labels: key of the labels: integers [batch], or floating shares [batch, classes].
      num_classes: None takes what the training source says.
      label_smoothing: weight of the uniform distribution in the target (Szegedy et al. 2016,
        arXiv:1512.00567, section 7).
      class_weights: how much an example of each class counts; `balanced` makes all classes count
        the same, by weights in inverse proportion to `class_counts`.
      focal_gamma: how much less an example counts that is predicted well (Lin et al. 2017,
        arXiv:1708.02002, eq. 4); 0 is off, they take 2.
      logit_adjustment: tau of Menon et al. 2021 (arXiv:2007.07314, eq. 10): in training,
        tau times the logarithm of a class's share of the examples is added to its logit; 0 is off,
        1 aims at the balanced accuracy.
      class_counts: training examples of each class, which weights and adjustment need; None takes
        what the training source says, with `config.data.oversample` those of an epoch.

    Raises:
      UserError: nobody knows the number of classes, or how many examples they have where that is
        needed; a value out of its range.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        inputs: str | tuple[str, ...] = "image",
        labels: str = "label",
        num_classes: int | None = None,
        label_smoothing: float = 0.0,
        class_weights: tuple[float, ...] | str | None = None,
        focal_gamma: float = 0.0,
        logit_adjustment: float = 0.0,
        class_counts: tuple[int, ...] | None = None,
    ):
        if num_classes is None:
            num_classes = metadata.get("num_classes")
        if num_classes is None:
            raise UserError(
                "config.task.num_classes: the training source does not say how many classes there"
                " are; set it"
            )
        if num_classes < 1:
            raise UserError(f"config.task.num_classes: {num_classes} is not at least 1")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"config.task.label_smoothing: {label_smoothing} is not in [0, 1)")
        for name, value in {
            "focal_gamma": focal_gamma,
            "logit_adjustment": logit_adjustment,
        }.items():
            if value < 0:
                raise UserError(f"config.task.{name}: {value} is negative; 0 is off")
        super().__init__(make_model(num_outputs=num_classes), inputs)
        self.num_classes = num_classes
        self.labels = labels
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.weights = self.adjustment = None
        if class_weights is not None or logit_adjustment:
            counts = _counts(class_counts or metadata.get("class_counts"), num_classes)
            if class_weights is not None:
                self.weights = _scaled(class_weights, counts)
            if logit_adjustment:
                shares = _each_present(counts, "logit_adjustment") / counts.sum()
                self.adjustment = (logit_adjustment * np.log(shares)).astype(np.float32)

    def check(self, examples: Mapping[str, np.ndarray]) -> None:
        if self.labels in examples:
            check_labels(examples[self.labels], self.num_classes, repr(self.labels))

    def losses(
        self, outputs: Float[Array, "batch classes"], batch: Batch
    ) -> tuple[Float[Array, " batch"], dict[str, Float[Array, " batch"]]]:
        targets = self._targets(require(batch, self.labels, "config.task.labels"), outputs.shape)
        logits = outputs.astype(jnp.float32)
        predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), self.num_classes)
        smooth = optax.smooth_labels(targets, self.label_smoothing)
        accuracy = jnp.sum(targets * predicted, axis=-1)
        if self.adjustment is not None:
            logits = logits + self.adjustment
        if self.focal_gamma:
            smooth = smooth * _misses(logits) ** self.focal_gamma
        if self.weights is not None:
            smooth = smooth * self.weights
        return optax.softmax_cross_entropy(logits, smooth), {"accuracy": accuracy}

    def _targets(
        self, labels: Shaped[Array, "batch ..."], outputs: tuple[int, ...]
    ) -> Float[Array, "batch classes"]:
        """The share of each class, of labels that are to go with outputs of a shape."""
        weights = jnp.issubdtype(labels.dtype, jnp.floating) and labels.ndim > 1
        if not weights and not jnp.issubdtype(labels.dtype, jnp.integer):
            raise UserError(
                f"config.task.labels: {self.labels!r} is {labels.dtype}; classes are integers"
            )
        if weights and labels.shape[-1] != self.num_classes:
            raise UserError(
                f"config.task.labels: {self.labels!r} has the weights of {labels.shape[-1]} classes"
                f" and the task {self.num_classes}; set num_classes of what mixes labels"
            )
        wanted = labels.shape if weights else (*labels.shape, self.num_classes)
        if outputs != wanted:
            raise UserError(
                f"config.model: its output has shape {outputs}; labels of shape {labels.shape} in"
                f" {self.num_classes} classes need {wanted}"
            )
        return labels.astype(jnp.float32) if weights else jax.nn.one_hot(labels, self.num_classes)


def _misses(logits: Float[Array, "batch classes"]) -> Float[Array, "batch classes"]:
    """1 - p, where it is small, too, and with a gradient that is finite."""
    return jnp.maximum(-jnp.expm1(jax.nn.log_softmax(logits)), _SMALLEST_MISS)


def _counts(counts: Sequence[int] | None, num_classes: int) -> Int[np.ndarray, " classes"]:
    if counts is None:
        raise UserError(
            "config.task.class_counts: the training source does not say how many examples each"
            " class has, which class_weights and logit_adjustment need; set it"
        )
    if len(counts) != num_classes or min(counts) < 0 or not any(counts):
        raise UserError(
            f"config.task.class_counts: {tuple(counts)} are not the examples of each of"
            f" {num_classes} classes"
        )
    return np.asarray(counts)


def _scaled(
    weights: Sequence[float] | str, counts: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    """The weights with a mean of 1 over the examples."""
    where = "config.task.class_weights"
    if isinstance(weights, str):
        if weights != "balanced":
            hint = suggest(weights, ("balanced",))
            raise UserError(f"{where}: {weights!r} is neither weights nor 'balanced'; {hint}")
        weights = [1 / count for count in _each_present(counts, "class_weights").tolist()]
    elif len(weights) != len(counts) or not all(0 <= weight < np.inf for weight in weights):
        raise UserError(
            f"{where}: {tuple(weights)} is not a weight, 0 or more, for each of {len(counts)}"
            " classes"
        )
    mean = np.dot(weights, counts) / counts.sum()
    if not mean > 0:
        raise UserError(f"{where}: {tuple(weights)} gives no training example any weight")
    return (np.asarray(weights) / mean).astype(np.float32)


def _each_present(counts: Int[np.ndarray, " classes"], setting: str) -> Int[np.ndarray, " classes"]:
    if not counts.all():
        raise UserError(
            f"config.task.{setting}: class {int(np.argmin(counts))} has no training example; leave"
            " the class out of the data, or set class_counts"
        )
    return counts
