"""One dispatch to the device: a step, or several of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
from jax.stages import Compiled, Wrapped
from jaxtyping import Array, PyTree

from dlresearch import preemption
from dlresearch.models import jaxpr_flops
from dlresearch.training.console import say
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


class Kind(NamedTuple):
    """What the program of a call depends on.

    Attributes:
      stage: the step at which its stage begins.
      width: of the sequences in its batches.
      due: the players whose regularisers it applies.
    """

    steps: int
    stage: int
    width: int | None
    due: tuple[str, ...] | None

    def in_words(self) -> str:
        """For the console."""
        what = "a step" if self.steps == 1 else f"{self.steps} steps in one call"
        if self.width is not None:
            what += f" for {self.width} tokens"
        if self.due:
            what += f" with the regulariser of the {' and the '.join(self.due)}"
        return what


@dataclass(frozen=True)
class Program:
    """A compiled call, its FLOPs, and the seconds that making it took."""

    call: Compiled
    flops: float
    seconds: float


def compiled(call: Wrapped, what: str, *arguments: Any) -> Program:
    """The call for arguments like these; a signal ends the wait for it."""
    began = time.perf_counter()
    say(f"compiling {what} ...")
    traced = call.trace(*arguments)
    flops = jaxpr_flops(traced.jaxpr)
    program = preemption.interruptible(traced.lower().compile)
    seconds = time.perf_counter() - began
    say(f"compiled in {seconds:.1f} s")
    return Program(program, flops, seconds)
