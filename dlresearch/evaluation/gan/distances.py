"""Distances between two sets of features."""

import numpy as np
from jaxtyping import Float

from dlresearch.errors import UserError
from dlresearch.evaluation.gan.moments import Moments

_SUBSET = 1000  # examples, as Binkowski et al. 2018 take them
_SUBSETS = 10  # at least so many, for a standard error that means something


def frechet_distance(a: Moments, b: Moments) -> float:
    """Frechet distance between two normal distributions, squared, in the square of features' units.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Dowson and Landau 1982, equation 4; Heusel et
    al. 2017, arXiv:1706.08500, equation 6). The trace of the root is the sum of the singular values
    of S_a^(1/2) S_b^(1/2), which are real, and defined for singular covariances, too. NaN where a
    moment is not finite.
    """
    of_a, of_b = a.covariance, b.covariance
    if not (np.isfinite(of_a).all() and np.isfinite(of_b).all()):
        return float("nan")
    roots = _root(of_a) @ _root(of_b)
    trace = np.trace(of_a) + np.trace(of_b) - 2 * np.linalg.svd(roots, compute_uv=False).sum()
    # Equal distributions may come out below zero, by rounding alone.
    return max(0.0, float(np.sum((a.mean - b.mean) ** 2) + trace))


def _root(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    # What rounding makes of eigenvalues that are 0 must go first: the root would make it large.
    values[values < len(values) * np.finfo(np.float64).eps * values[-1]] = 0
    return (vectors * np.sqrt(values)) @ vectors.T


def kernel_distance(
    a: Float[np.ndarray, "examples features"], b: Float[np.ndarray, "others features"]
) -> tuple[float, float]:
    """Kernel distance and its standard error (Binkowski et al. 2018, arXiv:1801.01401, section 4).

    The unbiased estimate of the squared maximum mean discrepancy with the kernel (x.y / d + 1)^3,
    as a mean over random subsets of 1000 examples of each set, fewer where there are not ten times
    as many. Subsets are the same every time, and share no example, so that the standard error is
    that of independent estimates.

    Raises:
      UserError: there are fewer than four examples.
    """
    smaller = min(len(a), len(b))
    if smaller < 4:
        raise UserError(f"{smaller} examples are too few for a kernel distance; it takes 4")
    size = min(_SUBSET, max(2, smaller // _SUBSETS))
    rng = np.random.default_rng(0)
    of_a, of_b = (rng.permutation(len(each)) for each in (a, b))
    estimates = [
        _squared_discrepancy(
            a[of_a[first : first + size]].astype(np.float64),
            b[of_b[first : first + size]].astype(np.float64),
        )
        for first in range(0, smaller - size + 1, size)
    ]
    return float(np.mean(estimates)), float(np.std(estimates, ddof=1) / np.sqrt(len(estimates)))


def _squared_discrepancy(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"]) -> float:
    """Unbiased estimate (Gretton et al. 2012, JMLR 13, equation 3)."""
    n = len(x)

    def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (one @ other.T / one.shape[1] + 1) ** 3

    within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return float(within / (n * (n - 1)) - 2 * kernel(x, y).mean())
