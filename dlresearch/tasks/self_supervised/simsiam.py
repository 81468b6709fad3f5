"""SimSiam: a network predicts its own code of another view, whose gradient is stopped."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Key

from dlresearch.config import Component
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_predictor
from dlresearch.tasks.self_supervised.cosine import negative_cosine
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Batch, MakeModel, Variables

PROJECTOR, PREDICTOR = "projector", "predictor"


class SimSiam(SelfSupervised):
    """Chen and He 2021, arXiv:2011.10566, equation 4: no negatives and no moving average.

    They keep the learning rate of the predictor constant (appendix): a group of
    `config.optimizer.groups` for `predictor/.*` does that.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      projector: sizes of the layers behind the features, each with batch norm, the last one, as in
        their code, without learned factors; the last is that of a code (section 3).
      predictor: sizes of the layers behind that, a bottleneck and a code, with batch norm between
        them (section 4.4).
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        projector: tuple[int, ...] = (2048, 2048, 2048),
        predictor: tuple[int, ...] = (512, 2048),
        probe: bool = True,
        label: str = "label",
    ):
        check_predictor(projector, predictor)
        normalised = Component("projector", widths=projector, last_norm="batch without affine")
        networks = {
            PROJECTOR: make_model(normalised, "config.task.projector"),
            PREDICTOR: make_model(
                Component("projector", widths=predictor), "config.task.predictor"
            ),
        }
        super().__init__(make_model, metadata, networks, probe, label)

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        one, two, state = self.both(params, variables.state[PLAYER], batch, key, PREDICTOR)
        targets = jax.lax.stop_gradient((one[PROJECTOR], two[PROJECTOR]))
        there = negative_cosine(one[PREDICTOR], targets[1])
        back = negative_cosine(two[PREDICTOR], targets[0])
        return Learned(
            (there + back) / 2, one[BACKBONE], {**variables.state, PLAYER: state}, {}, targets
        )
