"""What all tasks that learn from views of images share: the networks, the online probe, the
features, the figures that tell a collapse.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from dlresearch.data import FIRST, SECOND, check_labels
from dlresearch.errors import UserError
from dlresearch.models import Model, functional
from dlresearch.tasks.self_supervised import collapse
from dlresearch.tasks.self_supervised.networks import BACKBONE, Networks, Trees
from dlresearch.tasks.supervised import PLAYER, require
from dlresearch.tasks.task import Batch, MakeModel, Metrics, Player, Task, Variables

PROBE = "probe"


class Learned(NamedTuple):
    """What a method makes of a batch.

    Attributes:
      loss: of the method.
      features: of the backbone, which the online probe reads.
      state: of the task, after this batch.
      metrics: beside the loss.
      codes: of the first and of the second view, to tell a collapse; None where there are no such.
    """

    loss: Float[Array, ""]
    features: Float[Array, "batch features"]
    state: dict[str, PyTree]
    metrics: Metrics
    codes: tuple[Float[Array, "batch code"], Float[Array, "batch code"]] | None = None


class SelfSupervised(Task):
    """A backbone, `config.model`, and what a method puts on top of it.

    Parameters are `backbone/...`, `projector/...` and so on, and `probe/...`. The online probe is a
    linear layer that learns the classes from the features, whose gradient stops there; so its loss
    is simply added. With `config.optimizer.groups` it has an optimizer of its own.

    Args:
      networks: by name, on top of the backbone, each reading the one before it.
      probe: train the online probe, where the source has classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        networks: Mapping[str, Model],
        probe: bool,
        label: str,
    ):
        self.networks = Networks({BACKBONE: make_model(num_outputs=None), **networks})
        self.num_classes = metadata.get("num_classes") if probe else None
        self.label = label
        if self.num_classes is not None:
            self.probe = functional(nn.Dense, features=self.num_classes)

    @abstractmethod
    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        """The loss of the method on a batch with views; `params` by network."""

    def start(self, params: Trees, batch: Batch) -> dict[str, PyTree]:
        """What a method keeps beside the state of its networks, at step 0."""
        return {}

    # --- the contract of a task -----------------------------------------------------------------

    @property
    def players(self) -> Sequence[Player]:
        return (Player(PLAYER, self._loss),)

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        params, state = self.networks.init(key, self.first(batch))
        own = self.start(params, batch)
        if self.num_classes is not None:
            features = jax.eval_shape(lambda: self._features(params, state, self.first(batch)))
            zeros = jnp.zeros(features.shape, features.dtype)
            params[PROBE], _ = self.probe.init(key, zeros)
        return Variables(params={PLAYER: params}, state={PLAYER: state, **own})

    def predict(self, variables: Variables, batch: Batch) -> Float[Array, "batch classes"]:
        """Logits of the online probe.

        Raises:
          UserError: there is no probe.
        """
        if self.num_classes is None:
            raise UserError(
                "config.task: without an online probe nothing predicts classes; evaluate features,"
                " or set probe and a source with classes"
            )
        params, _ = self.learned(variables)
        logits, _ = self.probe.apply(
            params[PROBE], {}, self.features(variables, batch), train=False
        )
        return logits

    def features(self, variables: Variables, batch: Batch) -> Float[Array, "batch features"]:
        """What the backbone makes of `batch["image"]`, outside of training."""
        params, state = self.learned(variables)
        return self._features(params, state, require(batch, "image", "config.task"))

    def attention(
        self, variables: Variables, batch: Batch
    ) -> Float[Array, "batch heads rows columns"]:
        """Where the last layer of a transformer looks."""
        params, state = self.learned(variables)
        maps, _ = self.networks.models[BACKBONE].apply(
            params[BACKBONE],
            state.get(BACKBONE, {}),
            require(batch, "image", "config.task"),
            train=False,
            method="attention",
        )
        return maps

    def health(self, metrics: Mapping[str, float], progress: float) -> Iterator[str]:
        return collapse.told(metrics, progress)

    def check(self, examples: Mapping[str, np.ndarray]) -> None:
        if self.num_classes is not None and self.label in examples:
            check_labels(examples[self.label], self.num_classes, repr(self.label))

    # --- for methods ----------------------------------------------------------------------------

    def learned(self, variables: Variables) -> tuple[Trees, Trees]:
        """Parameters and state that evaluation reads, by network."""
        return variables.params[PLAYER], variables.state.get(PLAYER, {})

    @staticmethod
    def first(batch: Batch) -> Array:
        """The first views."""
        if FIRST not in batch:
            raise UserError("config.data.views.first: there are no views; set augmentations there")
        return batch[FIRST]

    def both(
        self, params: Trees, state: Trees, batch: Batch, key: Key[Array, ""], last: str | None
    ) -> tuple[dict[str, Array], dict[str, Array], Trees]:
        """What each network gives for the first and for the second views, and the new state.

        One after the other: the statistics of batch norm are of one kind of view at a time.
        """
        keys = jax.random.split(key)
        one, state = self.networks.apply(params, state, self.first(batch), keys[0], last=last)
        two, state = self.networks.apply(params, state, batch[SECOND], keys[1], last=last)
        return one, two, state

    # --- inside ---------------------------------------------------------------------------------

    def _loss(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], Metrics]]:
        found = self.learn(params, variables, batch, key)
        metrics = {"loss": found.loss, **found.metrics}
        if found.codes is not None:
            codes = jax.lax.stop_gradient(found.codes)
            metrics |= collapse.spread(*codes)
        loss = found.loss
        if self.num_classes is not None:
            features = jax.lax.stop_gradient(found.features)
            logits, _ = self.probe.apply(params[PROBE], {}, features, train=True)
            labels = require(batch, self.label, "config.task.label")
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            right = jnp.argmax(logits, axis=-1) == labels
            metrics |= {"probe_loss": jnp.mean(losses), "probe_accuracy": jnp.mean(right)}
            loss = loss + jnp.mean(losses)
        return loss, (found.state, metrics)

    def _features(self, params: Trees, state: Trees, images: Array) -> Array:
        outputs, _ = self.networks.apply(params, state, images, None, train=False, last=BACKBONE)
        return outputs[BACKBONE].astype(jnp.float32)
