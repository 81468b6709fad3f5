"""BYOL: a network predicts what its own slow copy makes of another view."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Key

from dlresearch.config import Component
from dlresearch.data import SECOND
from dlresearch.tasks.self_supervised import cosine
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_predictor
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.self_supervised.target import TARGET, rising, target_of, target_outputs
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Average, Batch, MakeModel, Variables

PROJECTOR, PREDICTOR = "projector", "predictor"


class BYOL(SelfSupervised):
    """Grill et al. 2020, arXiv:2006.07733: no negatives; the target is a moving average.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      momentum: of the target at the start; it rises to 1 over the run (section 3.2).
      projector: sizes of the layers behind the features; the last is that of a code.
      predictor: sizes of the layers behind that; the last is that of a code, too.
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        momentum: float = 0.996,
        projector: tuple[int, ...] = (4096, 256),
        predictor: tuple[int, ...] = (4096, 256),
        probe: bool = True,
        label: str = "label",
    ):
        check_predictor(projector, predictor)
        networks = {
            name: make_model(Component("projector", widths=widths), f"config.task.{name}")
            for name, widths in {PROJECTOR: projector, PREDICTOR: predictor}.items()
        }
        super().__init__(make_model, metadata, networks, probe, label)
        self.momentum = rising(momentum)

    @property
    def averages(self) -> Mapping[str, Average]:
        return {TARGET: target_of(self.networks, PROJECTOR, self.momentum)}

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        online_key, *target_keys = jax.random.split(key, 3)
        one, two, state = self.both(params, variables.state[PLAYER], batch, online_key, PREDICTOR)
        views = self.first(batch), batch[SECOND]
        targets = [
            target_outputs(self.networks, variables, view, own, PROJECTOR)[PROJECTOR]
            for view, own in zip(views, target_keys, strict=True)
        ]
        loss = cosine.byol(one[PREDICTOR], targets[1]) + cosine.byol(two[PREDICTOR], targets[0])
        return Learned(
            loss,
            one[BACKBONE],
            {**variables.state, PLAYER: state},
            {"momentum": self.momentum(variables.now)},
            (one[PROJECTOR], two[PROJECTOR]),
        )
