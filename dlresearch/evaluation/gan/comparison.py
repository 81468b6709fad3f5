"""Two sets of features, and all figures that compare them."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, Int

from dlresearch.evaluation.gan.distances import frechet_distance, kernel_distance
from dlresearch.evaluation.gan.manifolds import (
    DENSITY_NEIGHBOURS,
    PRECISION_NEIGHBOURS,
    Balls,
    balls,
    density_coverage,
    precision_recall,
)
from dlresearch.evaluation.gan.moments import Moments
from dlresearch.evaluation.sampling import RandomRows

METRICS = {
    "frechet": ("frechet_distance",),
    "kernel": ("kernel_distance", "kernel_distance_error"),
    "precision_recall": ("precision", "recall"),
    "density_coverage": ("density", "coverage"),
}
"""The figures that each asks for."""

LEAST = 1 + max(PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS)
"""Examples that all of them can do with."""


class FeatureSet:
    """What metrics need of the features of a set of examples.

    Args:
      metrics: which; `frechet` by itself keeps no features.
      total: above all places of examples; not all need come.
      most: how many examples at most the others look at.
    """

    def __init__(self, metrics: Collection[str], total: int, most: int):
        self.count = 0
        self.moments = Moments() if "frechet" in metrics else None
        self._rows = RandomRows(most, total) if set(metrics) - {"frechet"} else None
        self._balls: Balls | None = None

    def add(
        self, places: Int[np.ndarray, " batch"], features: Float[np.ndarray, "batch features"]
    ) -> None:
        """Take in examples; `places` says which of all they are."""
        self.count += len(places)
        if self.moments is not None:
            self.moments.add(features)
        if self._rows is not None:
            self._rows.add(places, features)

    def rows(self) -> Float[np.ndarray, "rows features"]:
        """The features that were kept."""
        assert self._rows is not None
        return self._rows.rows()

    def balls(self) -> Balls:
        """Around the rows, for all metrics; computed once."""
        if self._balls is None:
            self._balls = balls(self.rows(), (PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS))
        return self._balls


def compare(real: FeatureSet, other: FeatureSet, metrics: Collection[str]) -> dict[str, float]:
    """The figures of `other` against `real`, both complete and made for these metrics.

    Raises:
      UserError: one of them has too few examples.
    """
    found = {}
    if "frechet" in metrics:
        assert real.moments is not None and other.moments is not None
        found["frechet_distance"] = frechet_distance(real.moments, other.moments)
    if "kernel" in metrics:
        distance, error = kernel_distance(real.rows(), other.rows())
        found |= {"kernel_distance": distance, "kernel_distance_error": error}
    if "precision_recall" in metrics:
        around = balls(other.rows(), (PRECISION_NEIGHBOURS,))
        found["precision"], found["recall"] = precision_recall(real.balls(), around)
    if "density_coverage" in metrics:
        found["density"], found["coverage"] = density_coverage(real.balls(), other.rows())
    return found
