"""Examples of rare classes several times an epoch."""

from typing import Any

import numpy as np
from jaxtyping import Int

from dlresearch.data.loader import load_all
from dlresearch.data.order import TrainingOrder
from dlresearch.data.reading import stacked
from dlresearch.data.source import Source
from dlresearch.data.transforms import Select
from dlresearch.errors import UserError

_KEY = "label"


def labels_of(source: Source) -> Int[np.ndarray, " example"]:
    """The `label` of every example; each is read where the source does not hold them.

    Raises:
      UserError: there is no `label`, or it is not one class, 0 or above, for each example.
    """
    known: Any = getattr(source, "labels", None)
    if known is not None:
        labels = np.asarray(known())
    elif _KEY in ((arrays := stacked(source)) or source[0]):
        labels = (arrays or load_all(source, (Select((_KEY,)),)))[_KEY]
    else:
        raise UserError(
            f"examples have no {_KEY!r}, which data.oversample needs; they have"
            f" {', '.join(sorted(source[0]))}"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise UserError(
            f"{_KEY!r} is {labels.dtype}{list(labels.shape[1:]) or ''} from {labels.min()};"
            " data.oversample takes one class for each example, counted from 0"
        )
    return labels


class Oversampling:
    """How many examples of each class an epoch has.

    With n examples in a class, and N in the largest, these are n * (N / n)^share, rounded: n for
    share 0, and N, as of all classes, for share 1.

    Args:
      labels: the class of each example, 0 or above.
      share: how far towards equal classes, from 0 to 1.

    Attributes:
      members: the examples of each class.
      drawn: how many of each class an epoch has, with repetitions.

    Raises:
      UserError: `share` is not in [0, 1].
    """

    def __init__(self, labels: Int[np.ndarray, " example"], share: float):
        if not 0 <= share <= 1:
            raise UserError(f"{share} is not in [0, 1]")
        counts = np.bincount(labels)
        # All classes in one pass: stable, so that each one's examples stay in their order.
        self.members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
        times = (counts.max() / np.maximum(counts, 1)) ** share
        self.drawn: list[int] = np.rint(counts * times).astype(np.int64).tolist()

    def class_counts(self, num_classes: int | None) -> tuple[int, ...]:
        """`drawn`, with zeros for classes that have no example."""
        return (*self.drawn, *[0] * ((num_classes or 0) - len(self.drawn)))


class OversampledOrder(TrainingOrder):
    """An order of training whose epochs have the examples of rare classes several times.

    An example is seen as often in an epoch as the others of its class, or once more; which are seen
    once more is drawn for each epoch. `length` counts repetitions.

    Args:
      oversampling: how many examples of each class an epoch has.
      seed: as for `TrainingOrder`.
      examples_per_step: as for `TrainingOrder`.

    Raises:
      UserError: as for `TrainingOrder`.
    """

    def __init__(self, oversampling: Oversampling, seed: int, examples_per_step: int):
        self.oversampling = oversampling
        super().__init__(sum(oversampling.drawn), seed, examples_per_step)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.oversampling, self.seed, self.examples_per_step)

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        examples = []
        for members, drawn in zip(self.oversampling.members, self.oversampling.drawn, strict=True):
            times, more = divmod(drawn, max(len(members), 1))
            examples += [np.tile(members, times), rng.permutation(members)[:more]]
        return rng.permutation(np.concatenate(examples))
