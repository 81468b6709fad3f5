"""SimCLR: which two views are of one image?"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Key

from dlresearch.config import Component
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_temperature
from dlresearch.tasks.self_supervised.contrastive import LossAndAccuracy, nt_xent
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Batch, MakeModel, Variables

PROJECTOR = "projector"


class SimCLR(SelfSupervised):
    """Chen et al. 2020, arXiv:2002.05709: among all views of the whole batch, over all devices,
    each is to be closest to the other one of its image.

    With `config.accumulate` it is told apart from those of its microbatch alone.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      temperature: of the similarities; 0.1 to 0.5 there, the higher for small batches.
      projector: sizes of the layers behind the features; the last is that of a code (section 4.2).
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        temperature: float = 0.5,
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
        one, two, state = self.both(params, variables.state[PLAYER], batch, key, PROJECTOR)
        codes = one[PROJECTOR], two[PROJECTOR]
        loss, accuracy = self.contrast(codes, batch)
        return Learned(
            loss,
            one[BACKBONE],
            {**variables.state, PLAYER: state},
            {"contrastive_accuracy": accuracy},
            codes,
        )

    def contrast(self, codes: tuple[Array, Array], batch: Batch) -> LossAndAccuracy:
        """The loss of the codes of both views, and how often it finds what it looks for."""
        return nt_xent(*codes, self.temperature)
