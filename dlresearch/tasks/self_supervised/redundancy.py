"""Losses on the correlations of features: what differs is redundant, what agrees is kept.

Both compare two views' features by their statistics over the whole batch, and need neither
negatives nor a second network.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlresearch.errors import UserError

_EXACT = jax.lax.Precision.HIGHEST
_EPSILON = 1e-8
"""Added to the variance of a feature; one that is always the same has no correlation."""


def barlow_twins(
    first: Float[Array, "batch features"],
    second: Float[Array, "batch features"],
    off_diagonal: float,
) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
    """Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, equations 1 and 2).

    With C the correlations over the batch of each feature of the first view with each of the
    second: `sum_i (1 - C_ii)^2 + off_diagonal sum_i sum_(j != i) C_ij^2`.

    Args:
      off_diagonal: lambda in the paper.

    Returns:
      The loss, and both sums by name, `invariance` and `redundancy`, without the factor.

    Raises:
      UserError: a batch of one image, which has no correlations.
    """
    first, second = _standardised(first), _standardised(second)
    correlations = jnp.matmul(first.T, second, precision=_EXACT)
    diagonal = jnp.sum(first * second, axis=0)
    invariance = jnp.sum(jnp.square(1 - diagonal))
    redundancy = jnp.sum(_off_diagonal(jnp.square(correlations)))
    parts = {"invariance": invariance, "redundancy": redundancy}
    return invariance + off_diagonal * redundancy, parts


def vicreg(
    first: Float[Array, "batch features"],
    second: Float[Array, "batch features"],
    invariance: float,
    variance: float,
    covariance: float,
    target_std: float = 1.0,
    epsilon: float = 1e-4,
) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
    """VICReg (Bardes et al. 2022, arXiv:2105.04906, equations 1 to 6).

    `invariance s + variance (v + v') + covariance (c + c')` where s is the mean squared difference
    of the two views, v the mean over features of `max(0, target_std - std)` (equation 1) and c the
    sum of squared covariances between features, divided by their number (equation 4).

    s is a mean over features, too, as in the paper's algorithm 1, with which its coefficients were
    found; equation 5 has the sum.

    Args:
      invariance, variance, covariance: lambda, mu and nu in the paper.
      target_std: gamma in the paper; `epsilon` is added to variances (equation 2).

    Returns:
      The loss, and s, v + v' and c + c' by name, `invariance`, `variance`, `covariance`.

    Raises:
      UserError: a batch of one image, which has no variance.
    """
    first, second = first.astype(jnp.float32), second.astype(jnp.float32)
    parts = {
        "invariance": jnp.mean(jnp.square(first - second)),
        "variance": jnp.float32(0),
        "covariance": jnp.float32(0),
    }
    for features in (first, second):
        centred = _centred(features)
        variances = jnp.sum(jnp.square(centred), axis=0) / (len(features) - 1)
        lack = jax.nn.relu(target_std - jnp.sqrt(variances + epsilon))
        covariances = jnp.matmul(centred.T, centred, precision=_EXACT) / (len(features) - 1)
        parts["variance"] += jnp.mean(lack)
        parts["covariance"] += jnp.sum(_off_diagonal(jnp.square(covariances))) / features.shape[1]
    loss = (
        invariance * parts["invariance"]
        + variance * parts["variance"]
        + covariance * parts["covariance"]
    )
    return loss, parts


def _centred(features: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    if len(features) < 2:
        raise UserError("config.batch_size: correlations need two images or more in a batch")
    return features - jnp.mean(features, axis=0)


def _standardised(features: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    """Centred columns of length 1."""
    centred = _centred(features.astype(jnp.float32))
    squares = jnp.sum(jnp.square(centred), axis=0)
    return centred * jax.lax.rsqrt(squares + len(features) * _EPSILON)


def _off_diagonal(matrix: Float[Array, "size size"]) -> Float[Array, "size size"]:
    return jnp.where(jnp.eye(len(matrix), dtype=bool), 0.0, matrix)
