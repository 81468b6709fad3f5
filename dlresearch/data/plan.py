"""Which examples a batch has, by its number."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Int

from dlresearch.data.order import TrainingOrder

_ENDLESS = 2**62  # batches; Grain wants a length


class Rows(NamedTuple):
    """The rows of one batch, here of this process alone."""

    indices: Int[np.ndarray, " row"]
    positions: Int[np.ndarray, " row"]  # with the seed they fix what random transforms draw


class Plan(Protocol):
    """The rows of every batch, with random access."""

    @property
    def seed(self) -> int: ...

    @property
    def length(self) -> int: ...

    def __call__(self, number: int) -> Rows: ...


@dataclass(frozen=True)
class TrainingPlan:
    """Batches of a run from one step on."""

    order: TrainingOrder
    start_step: int
    rows: slice | Int[np.ndarray, " row"]

    @property
    def seed(self) -> int:
        return self.order.seed

    @property
    def length(self) -> int:
        return _ENDLESS

    def __call__(self, number: int) -> Rows:
        step = self.start_step + number
        return Rows(
            self.order.indices(step)[self.rows],
            self.order.positions(step)[self.rows],
        )


@dataclass(frozen=True)
class SequentialPlan:
    """All examples in order. The last batch is filled up with the last example, so that every
    process has as many batches of the same size as the others."""

    num_examples: int
    batch_size: int
    rows: slice | Int[np.ndarray, " row"]
    seed: int = 0

    @property
    def length(self) -> int:
        return -(-self.num_examples // self.batch_size)

    def __call__(self, number: int) -> Rows:
        indices = np.minimum(self._places(number), self.num_examples - 1)
        return Rows(indices, indices)

    def mask(self, number: int) -> Bool[np.ndarray, " row"]:
        """True for the rows that are not there to fill up."""
        return self._places(number) < self.num_examples

    def _places(self, number: int) -> Int[np.ndarray, " row"]:
        first = number * self.batch_size
        return np.arange(first, first + self.batch_size)[self.rows]
