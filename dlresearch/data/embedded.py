"""Sets that come with a library and need no download."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from dlresearch.data.source import ArraySource
from dlresearch.data.splits import split_rows


class Digits(ArraySource):
    """1,797 handwritten digits, 8 by 8 (scikit-learn's `load_digits`, the UCI test set).

    Yields `image` uint8 [8, 8, 1], the original grey levels 0 to 16 times 255/16 and rounded, and
    `label` int32.

    Args:
      split: `train`, `test`, or `all`. The rows are permuted by `split_seed`, not by class.
      held_out: fraction of the examples in `test`.
      split_seed: of the permutation.
    """

    def __init__(self, split: str = "train", held_out: float = 0.2, split_seed: int = 0):
        digits: Any = load_digits()
        rows, _ = split_rows(len(digits.images), split, held_out, split_seed)
        image = np.round(digits.images[rows] * (255 / 16)).astype(np.uint8)[..., None]
        names = tuple(str(name) for name in digits.target_names)
        super().__init__(
            {"image": image, "label": digits.target[rows].astype(np.int32)},
            {"num_classes": len(names), "class_names": names},
        )
