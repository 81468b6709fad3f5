"""Which examples a step sees: a function of the seed and the step, and of nothing else.

Not of the number of hosts, of prefetching, or of what ran before: a run that resumes asks for the
next step, and there is nothing to restore.
"""

from typing import Any

import numpy as np
from jaxtyping import Int

from dlresearch.errors import UserError

_EPOCHS_KEPT = 2  # a batch can straddle two

# Keys of a batch for what asks which examples it sees: `TrainingOrder.indices` and `.epochs`.
EXAMPLE, EPOCH = "example", "epoch"


class TrainingOrder:
    """Every example once an epoch, in an order shuffled anew for each.

    The examples of all steps are one endless sequence: position p is example
    `permutation(seed, p // length)[p % length]`, and step s has the positions from
    `s * examples_per_step` on. Batches run over the end of an epoch.

    Args:
      length: number of examples in the set.
      seed: of the run, below 2**64.
      examples_per_step: over all hosts.

    Raises:
      UserError: no examples, or none in a step, or a negative seed.
    """

    def __init__(self, length: int, seed: int, examples_per_step: int):
        if length < 1:
            raise UserError("the training set is empty; check the source")
        if examples_per_step < 1:
            raise UserError(f"batch_size={examples_per_step} must be at least 1")
        if seed < 0:
            raise UserError(f"seed={seed} is negative; use 0 or more")
        self.length, self.seed, self.examples_per_step = length, seed, examples_per_step
        self._epochs: dict[int, np.ndarray] = {}

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.length, self.seed, self.examples_per_step)

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which every example is seen once; not a whole number in general."""
        return self.length / self.examples_per_step

    def positions(self, step: int) -> Int[np.ndarray, " examples_per_step"]:
        """Places of the step's examples in the endless sequence, int64."""
        first = step * self.examples_per_step
        return np.arange(first, first + self.examples_per_step)

    def indices(self, step: int) -> Int[np.ndarray, " examples_per_step"]:
        """The examples of the step: int32, or int64 for a set too long for it. Not to be written
        to. Some microseconds, but for the first step in an epoch, which shuffles."""
        position = step * self.examples_per_step
        end = position + self.examples_per_step
        epoch, offset = divmod(position, self.length)
        if offset + self.examples_per_step <= self.length:
            return self._permutation(epoch)[offset : offset + self.examples_per_step]
        parts = []
        while position < end:
            epoch, offset = divmod(position, self.length)
            parts.append(self._permutation(epoch)[offset : offset + end - position])
            position += len(parts[-1])
        return np.concatenate(parts)

    def epochs(self, step: int) -> Int[np.ndarray, " examples_per_step"]:
        """How many epochs were over before each example of the step, int32."""
        return (self.positions(step) // self.length).astype(np.int32)

    def width(self, step: int) -> int | None:
        """To which `cut` cuts the sequences of a step's batch; None is not at all."""
        return None

    def cut(self, batch: dict[str, Any], width: int | None) -> dict[str, Any]:
        """A batch, arrays [row, ...] of NumPy or JAX, as wide as it has to be."""
        return batch

    def _permutation(self, epoch: int) -> np.ndarray:
        kept = self._epochs.get(epoch)
        if kept is not None:
            return kept
        # Philox takes (seed, epoch) as its key: independent streams without hashing or seeking.
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], np.uint64)))
        dtype = np.int32 if self.length <= np.iinfo(np.int32).max else np.int64
        permutation = self._shuffled(rng).astype(dtype)
        permutation.flags.writeable = False
        # Several threads read ahead. Each statement is atomic, and who comes second shuffles the
        # same again.
        self._epochs[epoch] = permutation
        for old in sorted(self._epochs.copy())[:-_EPOCHS_KEPT]:
            self._epochs.pop(old, None)
        return permutation

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """The examples of an epoch."""
        return rng.permutation(self.length)


class SequentialOrder(TrainingOrder):
    """Every epoch in the order of the source, whose examples go on where others end."""

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        return np.arange(self.length)


def example_rng(seed: int, position: int) -> np.random.Generator:
    """The generator of host transforms for the example at a position of the sequence."""
    return np.random.default_rng((seed, position))
