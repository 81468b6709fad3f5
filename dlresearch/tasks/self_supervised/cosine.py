"""Losses that predict the other view's vector: no negatives, so something else stops collapse."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dlresearch.models.self_supervised import unit_length


def byol(
    predictions: Float[Array, "batch features"], targets: Float[Array, "batch features"]
) -> Float[Array, ""]:
    """The loss of BYOL (Grill et al. 2020, arXiv:2006.07733, equation 2), of one direction.

    The squared distance of both, brought to length 1: `2 - 2 cosine`; the mean over rows. The
    caller adds the other direction, and stops the gradient of the targets.
    """
    return 2 + 2 * negative_cosine(predictions, targets)


def negative_cosine(
    predictions: Float[Array, "batch features"], targets: Float[Array, "batch features"]
) -> Float[Array, ""]:
    """The distance of SimSiam (Chen and He 2021, arXiv:2011.10566, equation 1), of one direction.

    The mean over rows. Their loss (equation 2) is the mean of both directions, with the gradient of
    the targets stopped.
    """
    return -jnp.mean(jnp.sum(unit_length(predictions) * unit_length(targets), axis=-1))
