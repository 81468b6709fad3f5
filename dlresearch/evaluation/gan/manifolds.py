"""How far two sets of features cover each other, by balls around each example.

The radius of a ball is the distance to the k-th nearest other example of the same set. All
distances are computed in float64 on the host, block by block, so that memory grows with the number
of examples and not with its square.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dlresearch import preemption
from dlresearch.errors import UserError

PRECISION_NEIGHBOURS = 3  # Kynkaanniemi et al. 2019, section 2
DENSITY_NEIGHBOURS = 5  # Naeem et al. 2020, section 4

_BLOCK_BYTES = 2**26  # of distances at once
# Of the largest squared norm: differences below this are rounding, and count as ties.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Balls:
    """Examples, and the squared distances to their nearest others.

    Attributes:
      points: the examples.
      squared_radii: by k.
    """

    points: Float[np.ndarray, "examples features"]
    squared_radii: dict[int, Float[np.ndarray, " examples"]]


def balls(features: Float[np.ndarray, "examples features"], neighbours: Sequence[int]) -> Balls:
    """Balls around examples, each out to the k-th nearest other one, for each k of `neighbours`.

    Radii are NaN where a feature is not finite.

    Raises:
      UserError: there are no k other examples.
    """
    if len(features) <= max(neighbours):
        raise UserError(
            f"{len(features)} examples are too few for {max(neighbours)} nearest neighbours;"
            f" it takes at least {max(neighbours) + 1}"
        )
    radii = {k: np.full(len(features), np.nan) for k in neighbours}
    if not _finite(features):
        return Balls(features, radii)
    for first, squared in _squared_distances(features, features):
        rows = np.arange(len(squared))
        squared[rows, first + rows] = np.inf  # itself, by its number: others may be equal to it
        nearest = np.partition(squared, [k - 1 for k in neighbours], axis=1)
        for k in neighbours:
            radii[k][first : first + len(squared)] = nearest[:, k - 1]
    return Balls(features, radii)


def precision_recall(real: Balls, generated: Balls) -> tuple[float, float]:
    """Improved precision and recall with k = 3 (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 2).

    Precision is the share of generated examples that lie in a ball around a real one, recall that
    of real examples in a ball around a generated one. Balls are closed. NaN where a feature is not
    finite.
    """
    if not (_finite(real.points) and _finite(generated.points)):
        return float("nan"), float("nan")
    k = PRECISION_NEIGHBOURS
    slack = _slack(real.points, generated.points)
    precise = np.zeros(len(generated.points), bool)
    recalled = np.empty(len(real.points), bool)
    for first, squared in _squared_distances(real.points, generated.points):
        rows = slice(first, first + len(squared))
        precise |= (squared <= real.squared_radii[k][rows, None] + slack).any(axis=0)
        recalled[rows] = (squared <= generated.squared_radii[k] + slack).any(axis=1)
    return float(precise.mean()), float(recalled.mean())


def density_coverage(
    real: Balls, generated: Float[np.ndarray, "examples features"]
) -> tuple[float, float]:
    """Density and coverage with k = 5 (Naeem et al. 2020, arXiv:2002.09797, equations 3 and 4).

    Density is the mean number of real balls that a generated example lies in, over k; coverage the
    share of real balls with a generated example in them. Balls are open, as in the authors'
    code. NaN where a feature is not finite.
    """
    if not (_finite(real.points) and _finite(generated)):
        return float("nan"), float("nan")
    k = DENSITY_NEIGHBOURS
    slack = _slack(real.points, generated)
    inside, covered = 0, 0
    for first, squared in _squared_distances(real.points, generated):
        within = squared < real.squared_radii[k][first : first + len(squared), None] - slack
        inside += np.count_nonzero(within)
        covered += np.count_nonzero(within.any(axis=1))
    return float(inside / (k * len(generated))), float(covered / len(real.points))


def _finite(features: np.ndarray) -> bool:
    return bool(np.isfinite(features).all())


def _slack(
    one: Float[np.ndarray, "examples features"], other: Float[np.ndarray, "others features"]
) -> float:
    """How far apart squared distances can be that are equal but for rounding."""
    centre = one.mean(axis=0, dtype=np.float64)
    return _ROUNDING * max(np.max(np.sum((each - centre) ** 2, axis=1)) for each in (one, other))


def _squared_distances(
    a: Float[np.ndarray, "examples features"], b: Float[np.ndarray, "others features"]
) -> Iterator[tuple[int, Float[np.ndarray, "block others"]]]:
    """Blocks of rows of the squared distances, each with the number of its first row."""
    # |x|^2 + |y|^2 - 2 x.y loses digits where points are far from the origin.
    centre = a.mean(axis=0, dtype=np.float64)
    b = b - centre
    squares = np.einsum("ij,ij->i", b, b)
    size = max(1, _BLOCK_BYTES // (8 * len(b)))
    for first in range(0, len(a), size):
        preemption.check()
        block = a[first : first + size] - centre
        squared = -2 * block @ b.T
        squared += squares
        squared += np.einsum("ij,ij->i", block, block)[:, None]
        yield first, np.maximum(squared, 0, out=squared)
