"""One dispatch to the device: a step, or several of them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax.stages import Wrapped
from jaxtyping import Array, PyTree

from dlresearch.training.state import TrainState

Pick: TypeAlias = Callable[[dict[str, Array], Any], dict[str, Array]]


def jit_call(
    step: Callable[[TrainState, dict[str, Array]], TrainState],
    pick: Pick,
    steps: int,
    abstract_state: TrainState,
) -> Wrapped:
    """`make_call`, jitted: the state is donated, and stays where `abstract_state` says it lies."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state)
    return jax.jit(make_call(step, pick, steps), donate_argnums=0, out_shardings=(shardings, None))


def make_call(
    step: Callable[[TrainState, dict[str, Array]], TrainState], pick: Pick, steps: int
) -> Callable[[TrainState, dict[str, Array], Any], tuple[TrainState, PyTree]]:
    """One dispatch: `steps` steps, `(state, resident, taken) -> (state, recorded)`.

    `recorded` is a copy: the state is donated to the next call, and what was recorded is read
    later.
    """

    def one(state: TrainState, resident: dict[str, Array], taken: Any):
        state = step(state, pick(resident, taken))
        return state, state.recorded

    def several(state: TrainState, resident: dict[str, Array], taken: Any):
        state, _ = jax.lax.scan(
            lambda state, taken: (step(state, pick(resident, taken)), None), state, taken, steps
        )
        return state, state.recorded

    return one if steps == 1 else several
