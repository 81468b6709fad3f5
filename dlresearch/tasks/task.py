"""What a task is: pure functions over pytrees that say what is learned.

The trainer knows nothing else about learning. It calls `init` once; at every step it updates each
player in order, then the moving averages, then calls `after_step`; evaluators read `predict`.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from dlresearch.models import Model

Batch: TypeAlias = Mapping[str, Array]
Metrics: TypeAlias = Mapping[str, Float[Array, ""]]


class Time(flax.struct.PyTreeNode):
    """When in a run.

    Attributes:
      step: that is being made, counted from 0.
      total: steps of the run.
    """

    step: Int[Array, ""]
    total: int = flax.struct.field(pytree_node=False)

    @property
    def progress(self) -> Float[Array, ""]:
        """The share of the run that is over, 0 in the first step."""
        return self.step.astype(jnp.float32) / self.total


TEACHER = "teacher"
"""The name of a moving average of parameters and state that a task predicts with."""


class Variables(flax.struct.PyTreeNode):
    """All a task learns and remembers.

    Attributes:
      params: parameters by player, `{player.name: pytree}`; gradients go here and nowhere else.
      state: what changes without a gradient, such as batch statistics, queues and centres.
      averages: moving averages by name, kept by the trainer as `Task.averages` says.
      time: given by the trainer while a step is made, for what changes over a run; else None.
    """

    params: dict[str, PyTree]
    state: dict[str, PyTree]
    averages: dict[str, PyTree] = flax.struct.field(default_factory=dict)
    time: Time | None = None

    @property
    def now(self) -> Time:
        """The time, in a step."""
        if self.time is None:
            raise ValueError("no step is being made: variables have no time")
        return self.time


Loss: TypeAlias = Callable[
    [PyTree, Variables, Batch, Key[Array, ""]],
    tuple[Float[Array, ""], tuple[dict[str, PyTree], Metrics]],
]


@dataclass(frozen=True)
class Regulariser:
    """A loss that a player's parameters follow only now and then: lazy regularisation (Karras et
    al. 2020, arXiv:1912.04958, section 3.1).

    At every `every`-th step the parameters are updated once more, along the gradient of `every`
    times the loss. The learning rate and the decay rates `b1` and `b2` of the player's optimizer
    are corrected for the additional updates as published there (appendix B).

    Attributes:
      loss: as that of a player, on the examples of its first update; its metrics are not recorded.
      every: in steps; from the first one on.
    """

    loss: Loss
    every: int


@dataclass(frozen=True)
class Player:
    """Who is updated: owner of `variables.params[name]`, with a loss of its own.

    Attributes:
      name: key of its parameters, and of its optimizer in `config.optimizers`.
      loss: `(params, variables, batch, key) -> (loss, (state, metrics))`. `params` is the player's
        own; all in `variables` is constant to it. `state` replaces `variables.state`, `metrics` are
        scalars.
      repeats: updates in one step, each on examples of its own: a step then reads the batch size
        times the largest `repeats` of the task's players.
      regulariser: what its parameters follow beside the loss, at some steps only.
    """

    name: str
    loss: Loss
    repeats: int = 1
    regulariser: Regulariser | None = None


@dataclass(frozen=True)
class Average:
    """An exponential moving average: `average <- decay * average + (1 - decay) * of(variables)`.

    Attributes:
      of: what is averaged; its value after `init` is where the average starts.
      decay: at the time of the step that was just made.
    """

    of: Callable[[Variables], PyTree]
    decay: Callable[[Time], Float[Array, ""] | float]


@runtime_checkable
class Task(Protocol):
    """The contract. A task subclasses this for the defaults, or has the same members."""

    @property
    def players(self) -> Sequence[Player]:
        """Who is updated in a step, in this order."""
        ...

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        """The variables at step 0.

        `batch` is the first one of the run, as training sees it: every k-th of its rows where a
        step splits it into k parts. Under `jax.jit`, so that an `init` that looks at shapes alone
        costs nothing more.
        """
        ...

    def predict(self, variables: Variables, batch: Batch) -> Any:
        """What evaluators read, one row for each example of the batch."""
        ...

    @property
    def averages(self) -> Mapping[str, Average]:
        """Moving averages the task needs; their values are in `variables.averages`."""
        return {}

    def after_step(self, variables: Variables, batch: Batch, key: Key[Array, ""]) -> Variables:
        """Called at the end of a step, for what follows no gradient."""
        return variables

    def health(self, metrics: Mapping[str, float], progress: float) -> Iterable[str]:
        """Lines to warn the user with, looked at whenever training metrics are recorded.

        Args:
          metrics: means since the last record, by name; with several players `player/name`.
          progress: the share of the run that is over.

        Raises:
          Hopeless: going on makes no sense; the run stops as diverged, for the reason given.
        """
        return ()

    def check(self, examples: Mapping[str, np.ndarray]) -> None:
        """Called on the host with examples as the source gives them, one row each.

        Raises:
          UserError: the task cannot learn from them.
        """


class Hopeless(Exception):
    """Training has failed although all numbers are finite; the message says why."""


class MakeModel(Protocol):
    """What the trainer hands to a task: builds `config.model`, or another component, as a `Model`.

    `context` offers arguments to the constructor, such as `num_outputs`; what the config sets wins.
    """

    def __call__(
        self, component: Any = None, path: str = "config.model", **context: Any
    ) -> Model: ...


def fold_in_name(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """The key of a purpose: `key` with the CRC-32 of `name` folded in."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
