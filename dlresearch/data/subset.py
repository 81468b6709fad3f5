"""A part of another source: few labels, or a validation set and what is left to train on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlresearch.config import Component, build
from dlresearch.data.oversampling import labels_of
from dlresearch.data.source import Example, Source, class_counts
from dlresearch.errors import UserError


class Subset:
    """Some examples of each class of another source, in their order there.

    Either a share, as of ImageNet's 1 % and 10 % (Chen et al. 2020, arXiv:2002.05709, section 4.2),
    rounded up, so that no class is without an example; or so many shots.

    Args:
      of: the source.
      share: of the examples of each class.
      shots: examples of each class.
      seed: which ones; not that of the run, so that several runs may learn from the same.
      rest: the examples that the same arguments leave, instead: a validation set.

    Raises:
      UserError: neither or both of share and shots, one that cannot be, or classes that have fewer
        examples than shots; a rest of nothing.
    """

    def __init__(
        self,
        of: Component,
        share: float | None = None,
        shots: int | None = None,
        seed: int = 0,
        rest: bool = False,
    ):
        if (share is None) == (shots is None):
            raise UserError("give either share or shots")
        if share is not None and not 0 < share <= 1:
            raise UserError(f"share={share}: is not in (0, 1]")
        if shots is not None and shots < 1:
            raise UserError(f"shots={shots}: must be at least 1")
        if seed < 0:
            raise UserError(f"seed={seed}: is negative; use 0 or more")
        self._source: Source = build(of, "source", "of")
        labels = labels_of(self._source)
        rng, rows = np.random.default_rng(seed), []
        for each in np.unique(labels):
            members = np.flatnonzero(labels == each)
            count = int(np.ceil(share * len(members))) if share is not None else int(shots or 0)
            if count > len(members):
                raise UserError(f"shots={shots}: class {each} has {len(members)} examples")
            rows.append(rng.permutation(members)[:count])
        taken = np.concatenate(rows)
        self._rows = np.setdiff1d(np.arange(len(labels)), taken) if rest else np.sort(taken)
        if not len(self._rows):
            raise UserError("rest: nothing is left; take a smaller share or fewer shots")
        self._labels = labels[self._rows]
        self.metadata: dict[str, Any] = dict(getattr(self._source, "metadata", {}))
        if classes := self.metadata.get("num_classes"):
            self.metadata["class_counts"] = class_counts(self._labels, classes)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._source[int(self._rows[index])]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        places = self._rows[np.asarray(indices)]
        several: Any = getattr(self._source, "__getitems__", None)
        return several(places) if several else [self._source[int(place)] for place in places]

    def labels(self) -> np.ndarray:
        return self._labels

    def describe(self, index: int) -> str:
        named: Any = getattr(self._source, "describe", None)
        place = int(self._rows[index])
        return named(place) if named else f"example {place}"
