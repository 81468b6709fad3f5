"""Barlow Twins: features that agree between views, and not with one another."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Key

from dlresearch.config import Component
from dlresearch.errors import UserError
from dlresearch.tasks.self_supervised import redundancy
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Batch, MakeModel, Variables

PROJECTOR = "projector"


class BarlowTwins(SelfSupervised):
    """Zbontar et al. 2021, arXiv:2103.03230: correlations over the whole batch, on all devices.

    With `config.accumulate` they are those of a microbatch.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      off_diagonal: how much correlations of different features count, lambda (section 2.2).
      scale: factor of the whole loss, which grows with the size of a code.
      projector: sizes of the layers behind the features; the last is that of a code (section 2.2).
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        off_diagonal: float = 0.005,
        scale: float = 1.0,
        projector: tuple[int, ...] = (8192, 8192, 8192),
        probe: bool = True,
        label: str = "label",
    ):
        if off_diagonal < 0:
            raise UserError(f"off_diagonal={off_diagonal}: must not be negative")
        if scale <= 0:
            raise UserError(f"scale={scale}: must be above 0")
        # A bias would be taken off again, with the mean.
        unbiased = Component("projector", widths=projector, last_bias=False)
        made = make_model(unbiased, "config.task.projector")
        super().__init__(make_model, metadata, {PROJECTOR: made}, probe, label)
        self.off_diagonal, self.scale = off_diagonal, scale

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        one, two, state = self.both(params, variables.state[PLAYER], batch, key, PROJECTOR)
        codes = one[PROJECTOR], two[PROJECTOR]
        loss, parts = redundancy.barlow_twins(*codes, self.off_diagonal)
        return Learned(
            self.scale * loss, one[BACKBONE], {**variables.state, PLAYER: state}, parts, codes
        )
