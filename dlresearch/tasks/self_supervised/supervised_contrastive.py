"""Supervised contrastive learning: SimCLR with labels, which other methods are compared with."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from dlresearch.errors import UserError
from dlresearch.tasks.self_supervised.contrastive import LossAndAccuracy, supervised_contrastive
from dlresearch.tasks.self_supervised.simclr import SimCLR
from dlresearch.tasks.supervised import require
from dlresearch.tasks.task import Batch, MakeModel


class SupervisedContrastive(SimCLR):
    """Khosla et al. 2020, arXiv:2004.11362: views of all images of a class belong together.

    With `config.accumulate` a view meets those of its microbatch alone.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      temperature: of the similarities (section 4.4).
      projector: sizes of the layers behind the features; the last is that of a code (section 3.1).
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes, integers.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        temperature: float = 0.1,
        projector: tuple[int, ...] = (2048, 128),
        probe: bool = True,
        label: str = "label",
    ):
        super().__init__(make_model, metadata, temperature, projector, probe, label)

    def contrast(self, codes: tuple[Array, Array], batch: Batch) -> LossAndAccuracy:
        labels = require(batch, self.label, "config.task.label")
        if labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise UserError(
                f"config.task.label: {self.label!r} is {labels.dtype} {list(labels.shape)};"
                " classes are one integer for each image"
            )
        return supervised_contrastive(*codes, labels, self.temperature)
