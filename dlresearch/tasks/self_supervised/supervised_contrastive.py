"""Supervised contrastive learning: SimCLR with labels, which other methods are compared with."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from dlresearch.config import Component
from dlresearch.errors import UserError
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_temperature
from dlresearch.tasks.self_supervised.contrastive import supervised_contrastive
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.supervised import PLAYER, require
from dlresearch.tasks.task import Batch, MakeModel, Variables

PROJECTOR = "projector"


class SupervisedContrastive(SelfSupervised):
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
        check_temperature(temperature=temperature)
        made = make_model(Component("projector", widths=projector), "config.task.projector")
        super().__init__(make_model, metadata, {PROJECTOR: made}, probe, label)
        self.temperature = temperature

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        labels = require(batch, self.label, "config.task.label")
        if labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise UserError(
                f"config.task.label: {self.label!r} is {labels.dtype} {list(labels.shape)};"
                " classes are one integer for each image"
            )
        one, two, state = self.both(params, variables.state[PLAYER], batch, key, PROJECTOR)
        codes = one[PROJECTOR], two[PROJECTOR]
        loss, accuracy = supervised_contrastive(*codes, labels, self.temperature)
        return Learned(
            loss,
            one[BACKBONE],
            {**variables.state, PLAYER: state},
            {"contrastive_accuracy": accuracy},
            codes,
        )
