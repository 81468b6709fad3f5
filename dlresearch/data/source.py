"""What a source of examples is, and the one that holds its examples as arrays."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Int

from dlresearch.errors import UserError

Example: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, np.ndarray]


class Source(Protocol):
    """Examples with random access: any object with a length and `source[i]`.

    Keys by convention: `image` uint8 [height, width, channel], `label` int32 (classification),
    `features` float32 [feature] and `target` float32 (regression).

    A source may have more, and is faster or clearer for it:
      `metadata`: a mapping; `num_classes`, `class_names` and `class_counts`, the number of examples
        of each class, are what others look for.
      `__getitems__(indices)`: a list of examples, where reading many at once is cheaper.
      `arrays()`: all examples stacked by key, where they are in memory anyway.
      `labels()`: the `label` of all examples, where they are known without reading them.
      `describe(index)`: what a message should call an example, such as its file.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


class ArraySource:
    """Examples held as one array a key.

    Args:
      arrays: by key, each with the examples along its first axis.
      metadata: what is known about them; where it has `num_classes`, `class_counts` is added.

    Raises:
      UserError: no array, no example, or arrays of different lengths.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any] | None = None):
        lengths = {key: len(array) for key, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"arrays of one set differ in length: {lengths}; make them equal")
        self._arrays = dict(arrays)
        self._length = next(iter(lengths.values()), 0)
        self.metadata: dict[str, Any] = dict(metadata or {})
        if self._length == 0:
            raise UserError(f"{type(self).__name__}: there is no example in it")
        labels, num_classes = self._arrays.get("label"), self.metadata.get("num_classes")
        if labels is not None and num_classes and _are_classes(labels):
            self.metadata["class_counts"] = class_counts(labels, num_classes)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return {key: array[index] for key, array in self._arrays.items()}

    def arrays(self) -> Arrays:
        """All examples by key; not to be written to."""
        return self._arrays


def class_counts(labels: Int[np.ndarray, " example"], num_classes: int) -> tuple[int, ...]:
    """How many examples each class has."""
    return tuple(np.bincount(labels, minlength=num_classes).tolist())


def _are_classes(labels: np.ndarray) -> bool:
    return labels.ndim == 1 and labels.dtype.kind in "iu" and labels.min() >= 0


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Refuse labels outside [0, num_classes), which a loss on a device would take without a word.

    Args:
      labels: integers of any shape.
      num_classes: how many classes there are.
      where: what the message calls the place they come from.

    Raises:
      UserError: a label is out of range.
    """
    if labels.size == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise UserError(
            f"{where}: label {wrong} is outside 0 to {num_classes - 1}; number the classes from 0,"
            f" or set num_classes"
        )
