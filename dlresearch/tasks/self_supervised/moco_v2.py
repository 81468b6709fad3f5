"""MoCo v2: negatives from a queue of the codes of past batches."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Key, PyTree

from dlresearch.config import Component
from dlresearch.data import SECOND
from dlresearch.models.layers import check_sizes
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_temperature
from dlresearch.tasks.self_supervised.contrastive import info_nce
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.self_supervised.queue import enqueue, new_queue
from dlresearch.tasks.self_supervised.target import TARGET, rising, target_of, target_outputs
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Average, Batch, MakeModel, Variables

PROJECTOR, QUEUE = "projector", "queue"


class MoCoV2(SelfSupervised):
    """He et al. 2020, arXiv:1911.05722, with the projector, views and temperature of Chen et al.
    2020, arXiv:2003.04297.

    The code of the first view is to find that of the second, which a slow copy of the networks
    gives, among many past ones. Theirs shuffles images between devices, as the statistics of a
    device's few images would tell which belong together; here batch norm is over the whole batch.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      queue: codes that are kept; at least a batch, or two where it is `symmetric`.
      momentum: of the slow copy (arXiv:1911.05722, section 3.2).
      last_momentum: what it becomes over the run, on a cosine; None keeps it.
      temperature: of the similarities (arXiv:2003.04297, section 3).
      projector: sizes of the layers behind the features, without batch norm; the last is that of a
        code.
      symmetric: let the second view look for the first one, too, and keep the codes of both; not
        so in the paper.
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        queue: int = 65536,
        momentum: float = 0.999,
        last_momentum: float | None = None,
        temperature: float = 0.2,
        projector: tuple[int, ...] = (2048, 128),
        symmetric: bool = False,
        probe: bool = True,
        label: str = "label",
    ):
        check_sizes(queue=queue)
        check_temperature(temperature=temperature)
        made = make_model(
            Component("projector", widths=projector, norm=False), "config.task.projector"
        )
        super().__init__(make_model, metadata, {PROJECTOR: made}, probe, label)
        self.queue, self.code = queue, projector[-1]
        self.momentum = rising(momentum, momentum if last_momentum is None else last_momentum)
        self.temperature, self.symmetric = temperature, symmetric

    @property
    def averages(self) -> Mapping[str, Average]:
        return {TARGET: target_of(self.networks, PROJECTOR, self.momentum)}

    def start(self, params: Trees, batch: Batch) -> dict[str, PyTree]:
        return {QUEUE: new_queue(self.queue, self.code)}

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        query_key, other_key, *key_keys = jax.random.split(key, 4)
        queue = variables.state[QUEUE]
        views = [self.first(batch), batch[SECOND]]

        def key_of(view: int) -> Array:
            found = target_outputs(self.networks, variables, views[view], key_keys[view], PROJECTOR)
            return found[PROJECTOR]

        one, state = self.networks.apply(
            params, variables.state[PLAYER], views[0], query_key, last=PROJECTOR
        )
        keys = key_of(1)
        loss, accuracy = info_nce(one[PROJECTOR], keys, queue.rows, self.temperature)
        if self.symmetric:
            two, state = self.networks.apply(params, state, views[1], other_key, last=PROJECTOR)
            others = key_of(0)
            back, found = info_nce(two[PROJECTOR], others, queue.rows, self.temperature)
            loss, accuracy = (loss + back) / 2, (accuracy + found) / 2
            queue = enqueue(queue, others)
        return Learned(
            loss,
            one[BACKBONE],
            {**variables.state, PLAYER: state, QUEUE: enqueue(queue, keys)},
            {"contrastive_accuracy": accuracy},
            (one[PROJECTOR], keys),
        )
