"""NNCLR: the positive of a view is the nearest past image of another view."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Key, PyTree

from dlresearch.config import Component
from dlresearch.models.layers import check_sizes
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_predictor, check_temperature
from dlresearch.tasks.self_supervised.contrastive import in_batch_info_nce
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.self_supervised.queue import enqueue, nearest, new_queue
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Batch, MakeModel, Variables

PROJECTOR, PREDICTOR, QUEUE = "projector", "predictor", "queue"


class NNCLR(SelfSupervised):
    """Dwibedi et al. 2021, arXiv:2104.14548, equation 3 with predictions in place of codes, as a
    mean of both directions.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      queue: codes of first views that are kept, to be neighbours; at least a batch.
      temperature: of the similarities.
      projector: sizes of the layers behind the features, each with batch norm; the last is that of
        a code.
      predictor: sizes of the layers behind that; the last is that of a code, too.
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        queue: int = 98304,
        temperature: float = 0.1,
        projector: tuple[int, ...] = (2048, 2048, 256),
        predictor: tuple[int, ...] = (4096, 256),
        probe: bool = True,
        label: str = "label",
    ):
        check_sizes(queue=queue)
        check_temperature(temperature=temperature)
        check_predictor(projector, predictor)
        normalised = Component("projector", widths=projector, last_norm="batch")
        networks = {
            PROJECTOR: make_model(normalised, "config.task.projector"),
            PREDICTOR: make_model(
                Component("projector", widths=predictor), "config.task.predictor"
            ),
        }
        super().__init__(make_model, metadata, networks, probe, label)
        self.queue, self.code, self.temperature = queue, projector[-1], temperature

    def start(self, params: Trees, batch: Batch) -> dict[str, PyTree]:
        return {QUEUE: new_queue(self.queue, self.code)}

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        one, two, state = self.both(params, variables.state[PLAYER], batch, key, PREDICTOR)
        codes, queue = (one[PROJECTOR], two[PROJECTOR]), variables.state[QUEUE]
        # Rows of the queue are constants: the gradient goes through the predictions alone.
        neighbours = [nearest(queue, each) for each in codes]
        there, found = in_batch_info_nce(neighbours[0], two[PREDICTOR], self.temperature)
        back, found_back = in_batch_info_nce(neighbours[1], one[PREDICTOR], self.temperature)
        return Learned(
            (there + back) / 2,
            one[BACKBONE],
            {**variables.state, PLAYER: state, QUEUE: enqueue(queue, codes[0])},
            {"contrastive_accuracy": (found + found_back) / 2},
            codes,
        )
