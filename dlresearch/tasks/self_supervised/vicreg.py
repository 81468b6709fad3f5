"""VICReg: codes that agree, vary, and do not covary."""

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


class VICReg(SelfSupervised):
    """Bardes et al. 2022, arXiv:2105.04906: variances over the whole batch, on all devices.

    With `config.accumulate` they are those of a microbatch.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      invariance: how much the mean squared difference of two views counts (section 4.2).
      variance: how much it counts where a feature's standard deviation is below 1.
      covariance: how much covariances of features count.
      projector: sizes of the layers behind the features; the last is that of a code (section 4.2).
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        projector: tuple[int, ...] = (8192, 8192, 8192),
        probe: bool = True,
        label: str = "label",
    ):
        self.factors = {
            "invariance": invariance,
            "variance": variance,
            "covariance": covariance,
        }
        for name, value in self.factors.items():
            if value < 0:
                raise UserError(f"{name}={value}: must not be negative")
        made = make_model(Component("projector", widths=projector), "config.task.projector")
        super().__init__(make_model, metadata, {PROJECTOR: made}, probe, label)

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        one, two, state = self.both(params, variables.state[PLAYER], batch, key, PROJECTOR)
        codes = one[PROJECTOR], two[PROJECTOR]
        loss, parts = redundancy.vicreg(*codes, **self.factors)
        return Learned(loss, one[BACKBONE], {**variables.state, PLAYER: state}, parts, codes)
