"""MoCo v3: a predictor and a slow copy, with the batch as negatives."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Key

from dlresearch.config import Component
from dlresearch.data import SECOND
from dlresearch.tasks.self_supervised import contrastive
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_predictor, check_temperature
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.self_supervised.target import TARGET, rising, target_of, target_outputs
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Average, Batch, MakeModel, Variables

PROJECTOR, PREDICTOR = "projector", "predictor"


class MoCoV3(SelfSupervised):
    """Chen et al. 2021, arXiv:2104.02057, algorithm 1, with the defaults of its vision transformers
    (section 4).

    They keep the projection of the patches as it was at the start (section 4.2):
    `config.optimizer.freeze` does that for `backbone/patches/.*`.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      momentum: of the slow copy at the start; it rises to 1 over the run.
      temperature: of the similarities.
      projector: sizes of the layers behind the features, each with batch norm, the last one
        without learned factors; the last is that of a code. With a ResNet (4096, 256).
      predictor: sizes of the layers behind that, likewise.
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        momentum: float = 0.99,
        temperature: float = 0.2,
        projector: tuple[int, ...] = (4096, 4096, 256),
        predictor: tuple[int, ...] = (4096, 256),
        probe: bool = True,
        label: str = "label",
    ):
        check_temperature(temperature=temperature)
        check_predictor(projector, predictor)
        networks = {
            name: make_model(
                Component("projector", widths=widths, last_norm="batch without affine"),
                f"config.task.{name}",
            )
            for name, widths in {PROJECTOR: projector, PREDICTOR: predictor}.items()
        }
        super().__init__(make_model, metadata, networks, probe, label)
        self.momentum = rising(momentum)
        self.temperature = temperature

    @property
    def averages(self) -> Mapping[str, Average]:
        return {TARGET: target_of(self.networks, PROJECTOR, self.momentum)}

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        online_key, *target_keys = jax.random.split(key, 3)
        one, two, state = self.both(params, variables.state[PLAYER], batch, online_key, PREDICTOR)
        first, second = (
            target_outputs(self.networks, variables, view, own, PROJECTOR)[PROJECTOR]
            for view, own in zip((self.first(batch), batch[SECOND]), target_keys, strict=True)
        )
        there, found = contrastive.moco_v3(one[PREDICTOR], second, self.temperature)
        back, found_back = contrastive.moco_v3(two[PREDICTOR], first, self.temperature)
        return Learned(
            there + back,
            one[BACKBONE],
            {**variables.state, PLAYER: state},
            {
                "contrastive_accuracy": (found + found_back) / 2,
                "momentum": self.momentum(variables.now),
            },
            (one[PROJECTOR], two[PROJECTOR]),
        )
