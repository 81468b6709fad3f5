"""Sequences of about one length in a batch, padded to few widths: little padding, few programs."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from dlresearch.data.loader import load_all
from dlresearch.data.order import TrainingOrder
from dlresearch.data.reading import stacked
from dlresearch.data.source import Source
from dlresearch.data.transforms import Select
from dlresearch.errors import UserError

_POOL = 100  # batches that are sorted together: enough for lengths to be alike within each
_POOLS_KEPT = 2  # what reads ahead may be in the next one


class Buckets:
    """How wide a batch must be for the sequences in it.

    Args:
      source: its `metadata["sequences"]` says which arrays of an example are padded sequences, and
        which numbers say how far each goes.
      widths: allowed ones, in tokens. A sequence longer than all of them keeps the array's own.

    Raises:
      UserError: a width below 1, or widths that do not grow; a source without sequences.
    """

    def __init__(self, source: Source, widths: Iterable[int]):
        self.widths = np.asarray(tuple(widths), np.int64)
        if not self.widths.size or self.widths.min() < 1 or (np.diff(self.widths) <= 0).any():
            raise UserError(f"{tuple(self.widths.tolist())} are not widths, from 1 up, that grow")
        sequences: Mapping[str, str] = getattr(source, "metadata", {}).get("sequences", {})
        if not sequences:
            raise UserError(
                f"{type(source).__name__} does not say which arrays are sequences, so they cannot"
                " be cut to their lengths; leave it empty"
            )
        self.sequences = tuple(sequences)
        keys = tuple(dict.fromkeys(sequences.values()))
        arrays: Any = stacked(source) or load_all(source, (Select(keys),))
        lengths = [arrays[key] for key in sequences.values()]
        self.lengths: Int[np.ndarray, " example"] = np.max(lengths, axis=0)
        self.tokens: Int[np.ndarray, " example"] = np.sum(lengths, axis=0)

    def width(self, examples: Int[np.ndarray, " row"]) -> int | None:
        """Of a batch with these examples; None is as wide as the arrays are."""
        place = int(np.searchsorted(self.widths, self.lengths[examples].max()))
        return int(self.widths[place]) if place < len(self.widths) else None

    def trim(self, batch: dict[str, Any], width: int | None) -> dict[str, Any]:
        """The batch, arrays [row, ...] of NumPy or JAX, with its sequences cut to a width."""
        if width is None:
            return batch
        return {**batch, **{key: batch[key][:, :width] for key in self.sequences}}


class BucketedOrder(TrainingOrder):
    """An order of training in which the examples of a batch are of about one length.

    The endless sequence of `inner` is cut into pools of some batches. The examples of a pool are
    sorted by length and make its batches, and these come in a random order. So each example is
    still seen once an epoch, but for where a pool lies across the end of one, and what a step sees
    follows from the seed and the step alone.

    Args:
      inner: the order without lengths.
      buckets: the lengths of the examples.
    """

    def __init__(self, inner: TrainingOrder, buckets: Buckets):
        self.inner, self.buckets = inner, buckets
        super().__init__(inner.length, inner.seed, inner.examples_per_step)
        self._pool = min(_POOL, max(1, int(inner.steps_per_epoch)))
        self._pools: dict[int, np.ndarray] = {}

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.inner, self.buckets)

    def positions(self, step: int) -> Int[np.ndarray, " examples_per_step"]:
        return self._batches(step // self._pool)[0, step % self._pool]

    def indices(self, step: int) -> Int[np.ndarray, " examples_per_step"]:
        return self._batches(step // self._pool)[1, step % self._pool]

    def width(self, step: int) -> int | None:
        return self.buckets.width(self.indices(step))

    def cut(self, batch: dict[str, Any], width: int | None) -> dict[str, Any]:
        return self.buckets.trim(batch, width)

    def padding(self) -> tuple[float, float]:
        """The share of padding in an epoch: as it is, and with all as wide as the longest."""
        steps = range(max(1, round(self.steps_per_epoch)))
        longest = int(self.buckets.lengths.max())
        tokens = sum(int(self.buckets.tokens[self.indices(step)].sum()) for step in steps)
        rows = self.examples_per_step * len(self.buckets.sequences)
        widths = [self.width(step) or longest for step in steps]
        return 1 - tokens / (rows * sum(widths)), 1 - tokens / (rows * longest * len(steps))

    def _batches(self, pool: int) -> Shaped[np.ndarray, "2 step row"]:
        """Positions and examples of the batches of a pool."""
        kept = self._pools.get(pool)
        if kept is not None:
            return kept
        steps = range(pool * self._pool, (pool + 1) * self._pool)
        both = np.stack(
            [
                np.concatenate([self.inner.positions(step) for step in steps]),
                np.concatenate([self.inner.indices(step) for step in steps]),
            ]
        )
        both = both[:, np.argsort(self.buckets.lengths[both[1]], kind="stable")]
        # Counted from the end: the first numbers are of epochs, which have random streams as well.
        key = np.array([self.seed, 2**64 - 1 - pool], np.uint64)
        batches = both.reshape(2, self._pool, -1)
        batches = batches[:, np.random.Generator(np.random.Philox(key=key)).permutation(self._pool)]
        batches.flags.writeable = False
        self._pools[pool] = batches
        for old in sorted(self._pools.copy())[:-_POOLS_KEPT]:
            self._pools.pop(old, None)
        return batches
