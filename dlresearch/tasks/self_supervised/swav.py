"""SwAV: the prototypes of a view are predicted from other views."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from dlresearch.config import Component
from dlresearch.errors import UserError
from dlresearch.models.checks import check_shares
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_temperature
from dlresearch.tasks.self_supervised.distillation import across_views, entropy
from dlresearch.tasks.self_supervised.multi_crop import held, of_all_views
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.self_supervised.sinkhorn import sinkhorn_knopp
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Batch, MakeModel, Variables

PROJECTOR, PROTOTYPES = "projector", "prototypes"


class SwAV(SelfSupervised):
    """Caron et al. 2020, arXiv:2006.09882: every prototype gets as much of the whole batch, on all
    devices, and what the first two views get is predicted from all others.

    With `config.accumulate` a microbatch is shared out. Their queue for small batches is not here:
    take a batch of several times the number of prototypes, or fewer prototypes.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      prototypes: how many (appendix A).
      temperature: of the predictions (section 3.1).
      epsilon: how soft the codes are; lower is harder (section 3.1).
      iterations: of Sinkhorn and Knopp's algorithm (section 3.1).
      prototypes_frozen: the first share of the run, in which prototypes get no gradient; theirs is
        one epoch of 200 and more (appendix A).
      projector: sizes of the layers behind the features; the last is that of a code (appendix A).
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        prototypes_frozen: float = 0.005,
        projector: tuple[int, ...] = (2048, 128),
        probe: bool = True,
        label: str = "label",
    ):
        check_temperature(temperature=temperature, epsilon=epsilon)
        check_shares(prototypes_frozen=prototypes_frozen)
        if iterations < 1:
            raise UserError(f"iterations={iterations}: must be at least 1")
        networks = {
            name: make_model(component, f"config.task.{name}")
            for name, component in {
                PROJECTOR: Component("projector", widths=projector),
                PROTOTYPES: Component("prototypes", count=prototypes),
            }.items()
        }
        super().__init__(make_model, metadata, networks, probe, label)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.prototypes_frozen = prototypes_frozen

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        params = held(params, (PROTOTYPES,), self.prototypes_frozen, variables.now)
        scores, (one, two), state = of_all_views(
            self, params, variables.state[PLAYER], batch, key, PROTOTYPES
        )
        # Of the first views and of the second ones apart, as in their code.
        codes = [
            sinkhorn_knopp(jax.lax.stop_gradient(scores[:, view]), self.epsilon, self.iterations)
            for view in range(2)
        ]
        loss = across_views(jnp.stack(codes, axis=1), scores, self.temperature)
        return Learned(
            loss,
            one[BACKBONE],
            {**variables.state, PLAYER: state},
            {"code_entropy": entropy(codes[0])},
            (one[PROJECTOR], two[PROJECTOR]),
        )
