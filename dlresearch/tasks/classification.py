"""Classification: one of several classes an example."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped

from dlresearch.data import check_labels
from dlresearch.errors import UserError
from dlresearch.tasks.supervised import Supervised, require
from dlresearch.tasks.task import Batch, MakeModel


class Classification(Supervised):
    """Softmax cross-entropy against integer labels, or against weights of the classes.

    Weights are what an augmentation that mixes examples makes of integer labels. `accuracy` is then
    the weight of the most likely class.

    Args:
      make_model: from the trainer; the model gets `num_outputs`, the number of classes.
      metadata: of the training source, from the trainer.
      inputs: key of the batch that the model reads.
      labels: key of the labels: integers [batch], or floating weights [batch, classes].
      num_classes: None takes what the training source says.
      label_smoothing: weight of the uniform distribution in the target (Szegedy et al. 2016,
        arXiv:1512.00567, section 7).

    Raises:
      UserError: nobody knows the number of classes, or `label_smoothing` is not in [0, 1).
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        inputs: str = "image",
        labels: str = "label",
        num_classes: int | None = None,
        label_smoothing: float = 0.0,
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
        super().__init__(make_model(num_outputs=num_classes), inputs)
        self.num_classes = num_classes
        self.labels = labels
        self.label_smoothing = label_smoothing

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
        return optax.softmax_cross_entropy(logits, smooth), {
            "accuracy": jnp.sum(targets * predicted, axis=-1)
        }

    def _targets(
        self, labels: Shaped[Array, "batch ..."], outputs: tuple[int, ...]
    ) -> Float[Array, "batch classes"]:
        """The weight of each class, of labels that are to go with outputs of a shape."""
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
