"""Mean and covariance of examples that come in batches."""

import numpy as np
from jaxtyping import Float

from dlresearch.errors import UserError


class Moments:
    """Mean and covariance in float64, in memory that does not grow with the examples.

    Batches are merged as in Chan, Golub and LeVeque 1979 ("Updating formulae and a pairwise
    algorithm for computing sample variances", equation 2.1): each is centred on its own mean, so a
    large mean costs no digits.

    Attributes:
      count: examples so far.
      mean: [features]; empty before the first batch.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Float[np.ndarray, " features"] = np.empty(0)
        self._scatter: Float[np.ndarray, "features features"] = np.empty((0, 0))

    def add(self, features: Float[np.ndarray, "batch features"]) -> None:
        """Take in the examples of a batch, of any number."""
        count = len(features)
        if count == 0:
            return
        features = np.asarray(features, np.float64)
        if self.count == 0:
            self.mean = np.zeros(features.shape[1])
            self._scatter = np.zeros((features.shape[1],) * 2)
        mean = features.mean(axis=0)
        centred = features - mean
        difference = mean - self.mean
        total = self.count + count
        self._scatter += centred.T @ centred
        self._scatter += np.outer(difference, difference * (self.count * count / total))
        self.mean += difference * (count / total)
        self.count = total

    @property
    def covariance(self) -> Float[np.ndarray, "features features"]:
        """The unbiased estimate, divided by one less than the number of examples.

        Raises:
          UserError: there are fewer than two examples.
        """
        if self.count < 2:
            raise UserError(f"{self.count} examples have no covariance; it takes at least 2")
        return self._scatter / (self.count - 1)
