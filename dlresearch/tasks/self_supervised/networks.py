"""Networks that read one another's output: a backbone, a projector, a predictor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Array, Float, Key, PyTree

from dlresearch.models import Model
from dlresearch.tasks.task import fold_in_name

BACKBONE = "backbone"
"""The first of the networks, and the one that is kept."""

Trees: TypeAlias = dict[str, PyTree]
"""Parameters, or state, by network."""


@dataclass(frozen=True)
class Networks:
    """Each reads what the one before it gives.

    Attributes:
      models: by name, in this order; the first is the backbone.
    """

    models: Mapping[str, Model]

    def init(self, key: Key[Array, ""], images: Float[Array, "batch ..."]) -> tuple[Trees, Trees]:
        """Parameters and state."""
        params, state, given = {}, {}, images
        for name, model in self.models.items():
            params[name], state[name] = model.init(fold_in_name(key, name), given)
            given, _ = model.apply(
                params[name], state[name], given, train=True, key=fold_in_name(key, name)
            )
        return params, state

    def apply(
        self,
        params: Trees,
        state: Trees,
        images: Float[Array, "batch ..."],
        key: Key[Array, ""] | None,
        *,
        train: bool = True,
        last: str | None = None,
    ) -> tuple[dict[str, Float[Array, "batch features"]], Trees]:
        """What each network gives, up to `last`, and the new state of all."""
        outputs: dict[str, Array] = {}
        new_state, given = dict(state), images
        for name in self._up_to(last):
            own = None if key is None else fold_in_name(key, name)
            given, new_state[name] = self.models[name].apply(
                # A checkpoint has no place for a state without arrays.
                params[name],
                state.get(name, {}),
                given,
                train=train,
                key=own,
            )
            outputs[name] = given
        return outputs, new_state

    def _up_to(self, last: str | None) -> Iterator[str]:
        for name in self.models:
            yield name
            if name == last:
                return
