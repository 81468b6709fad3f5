"""What is measured at some steps only, kept so that the records of all steps can show it."""

from collections.abc import Iterable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from dlresearch.tasks.gan.networks import State
from dlresearch.tasks.task import Variables

_MEASURED = "measured"


def nothing_yet(names: Iterable[str]) -> State:
    """What goes into the state at step 0."""
    found = {name: jnp.float32(0) for name in names}
    return {_MEASURED: found} if found else {}


def measured(variables: Variables, *names: str) -> dict[str, Float[Array, ""]]:
    """The newest values of those of these that are measured at some steps only."""
    found = variables.state.get(_MEASURED, {})
    return {name: found[name] for name in names if name in found}


def keep(state: State, new: Mapping[str, Float[Array, ""]]) -> State:
    """The state with new values."""
    return {**state, _MEASURED: {**state[_MEASURED], **new}}
