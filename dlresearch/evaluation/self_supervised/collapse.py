"""Figures that say whether features have collapsed; in float64, on the host."""

import numpy as np
from jaxtyping import Float

_BLOCK = 512  # rows whose distances are taken at once
_EPSILON = 1e-7  # of RankMe

Features = Float[np.ndarray, "example features"]


def normalised(features: Features) -> Features:
    """Each row divided by its length, in float64; what is 0 stays so."""
    features = features.astype(np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def relative_deviation(features: Features) -> float:
    """The standard deviation of normalised features over the examples, as the mean of all
    dimensions, times the root of their number: 0 where all are the same, 1 where they are spread
    evenly over the sphere (Chen and He 2021, arXiv:2011.10566, section 4.1).
    """
    return float(normalised(features).std(axis=0).mean() * np.sqrt(features.shape[1]))


def effective_rank(features: Features) -> float:
    """exp of the entropy of the singular values' shares in their sum (Garrido et al. 2023, RankMe,
    arXiv:2210.02885, equation 1; the effective rank of Roy and Vetterli 2007). From 1 to the
    number of dimensions, or of examples if they are fewer.
    """
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    total = values.sum()
    shares = values / (total if total > 0 else 1) + _EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def uniformity(features: Features, scale: float = 2.0) -> float:
    """log of the mean of exp(-scale * squared distance) over all pairs of normalised features (Wang
    and Isola 2020, arXiv:2005.10242, equation 3): 0 where all are the same, about -2 * scale at
    best in many dimensions.
    """
    points = normalised(features)
    count, total = len(points), 0.0
    if count < 2:
        return float("nan")
    squares = (points**2).sum(axis=1)
    for first in range(0, count, _BLOCK):
        block = slice(first, first + _BLOCK)
        distances = squares[block, None] + squares - 2 * points[block] @ points.T
        similar = np.exp(-scale * distances)
        # Every pair once, and no example with itself.
        total += np.triu(similar, k=first + 1).sum()
    return float(np.log(total / (count * (count - 1) / 2)))
