"""What all supervised tasks share: one player, one model, the keys of the batch that go in."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError
from dlresearch.models import Model
from dlresearch.tasks.task import Batch, Metrics, Player, Task, Variables

PLAYER = "model"


class Supervised(Task):
    """A model that maps `batch[inputs]` to outputs, trained by the mean of a loss an example.

    `inputs` is a key of the batch, or several: the model then reads them in this order.
    """

    def __init__(self, model: Model, inputs: str | tuple[str, ...]):
        self.model = model
        self.inputs = (inputs,) if isinstance(inputs, str) else tuple(inputs)

    @abstractmethod
    def losses(
        self, outputs: Any, batch: Batch
    ) -> tuple[Float[Array, " batch"], dict[str, Float[Array, " batch"]]]:
        """The loss and further metrics, of each example, in float32."""

    @property
    def players(self) -> Sequence[Player]:
        return (Player(PLAYER, self._loss),)

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        params, state = self.model.init(key, *self._read(batch))
        return Variables(params={PLAYER: params}, state={PLAYER: state})

    def predict(self, variables: Variables, batch: Batch) -> Any:
        outputs, _ = self.model.apply(
            variables.params[PLAYER], variables.state[PLAYER], *self._read(batch), train=False
        )
        return outputs

    def features(self, variables: Variables, batch: Batch) -> Float[Array, "batch features"]:
        """What the model has made of the inputs before its last layer."""
        params, state = variables.params[PLAYER], variables.state[PLAYER]
        return self.model.features(params, state, *self._read(batch))

    def attention(
        self, variables: Variables, batch: Batch
    ) -> Float[Array, "batch heads rows columns"]:
        """Where the last layer of a transformer over patches looks."""
        params, state = variables.params[PLAYER], variables.state[PLAYER]
        maps, _ = self.model.apply(
            params, state, *self._read(batch), train=False, method="attention"
        )
        return maps

    def _loss(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], Metrics]]:
        outputs, state = self.model.apply(
            params, variables.state[PLAYER], *self._read(batch), train=True, key=key
        )
        losses, metrics = self.losses(outputs, batch)
        means = {name: jnp.mean(values) for name, values in metrics.items()}
        loss = jnp.mean(losses)
        return loss, ({**variables.state, PLAYER: state}, {"loss": loss, **means})

    def _read(self, batch: Batch) -> tuple[Array, ...]:
        return tuple(require(batch, name, "config.task.inputs") for name in self.inputs)


def require(batch: Batch, name: str, path: str) -> Array:
    """`batch[name]`, or an error that says where the name came from."""
    if name not in batch:
        # Without what evaluation adds.
        own = ", ".join(sorted(batch.keys() - {"mask", EXAMPLE}))
        raise UserError(f"{path}: examples have no {name!r}; they have {own}")
    return batch[name]
