"""Random and even choices of examples that come in batches."""

import numpy as np
from jaxtyping import Bool, Int, Shaped


class RandomRows:
    """At most `size` of `total` rows, each set of so many being as likely as any other.

    Each row has drawn a number, and the rows with the smallest are kept: which these are does not
    depend on the batches, and few rows are kept whole.
    """

    def __init__(self, size: int, total: int):
        self._size = size
        self._draws = np.random.default_rng(0).random(total)
        self._places: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []

    def add(self, places: Int[np.ndarray, " batch"], rows: Shaped[np.ndarray, "batch ..."]) -> None:
        """Take in rows; `places` says which of `total` they are."""
        self._places.append(places)
        self._rows.append(rows)
        if sum(map(len, self._rows)) > 2 * self._size:
            self._cut()

    def rows(self) -> Shaped[np.ndarray, "rows ..."]:
        """Those kept so far, in the order of their places; at least one must have been added."""
        self._cut()
        return self._rows[0]

    def _cut(self) -> None:
        places, rows = np.concatenate(self._places), np.concatenate(self._rows)
        kept = np.argsort(self._draws[places])[: self._size]
        kept = kept[np.argsort(places[kept])]
        self._places, self._rows = [places[kept]], [rows[kept]]


def evenly(places: Int[np.ndarray, " batch"], count: int, total: int) -> Bool[np.ndarray, " batch"]:
    """Which places are among `count` of `total` that are spread evenly; all where `count` is at
    least `total`.

    Sources are often sorted by class, so that the first examples are not like all.
    """
    return (places + 1) * count // total > places * count // total
