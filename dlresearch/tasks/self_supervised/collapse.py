"""Whether representations still differ from one another: what is watched while training."""

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from dlresearch.models.self_supervised import unit_length

# Of a deviation that is 1 where codes are spread evenly, and 0 where all are the same.
_COLLAPSED = 0.1
# Of the run; networks begin with codes that are much alike.
_EARLY = 0.1


def spread(
    first: Float[Array, "batch features"], second: Float[Array, "batch features"]
) -> dict[str, Float[Array, ""]]:
    """Figures of the codes of two views of each image, scaled to length 1.

    `deviation`: the mean over dimensions of the standard deviation, times the root of their number;
    about 1 where codes are spread evenly over the sphere, 0 where they have collapsed to a point
    (Chen and He 2021, arXiv:2011.10566, section 4.1). `dimensions`: how many have a share in the
    variance, `(sum l)^2 / sum l^2` over the eigenvalues l of the covariance, which is the
    effective rank of order 2 and notices where codes collapse to a few dimensions. `alignment`: the
    mean squared distance of two views of an image. `uniformity`: the logarithm of the mean of
    `exp(-2 d^2)` over the distances d of different images, lower where they are more evenly spread
    (Wang and Isola 2020, arXiv:2005.10242, equations 2 and 3).
    """
    first, second = unit_length(first), unit_length(second)
    count, size = first.shape
    centred = first - jnp.mean(first, axis=0)
    # Its eigenvalues that are not 0 are those of the covariance, and its size is the batch's.
    gram = centred @ centred.T
    variance = jnp.trace(gram)
    # From differences to the mean, and less 1, which loses little where codes are much alike.
    lengths = jnp.diag(gram)
    squared = lengths[:, None] + lengths - 2 * gram
    others = 1 - jnp.eye(count)
    apart = jnp.sum(others * jnp.expm1(-2 * squared)) / max(count * (count - 1), 1)
    return {
        "deviation": jnp.mean(jnp.std(first, axis=0)) * size**0.5,
        "dimensions": variance**2 / jnp.maximum(jnp.sum(jnp.square(gram)), 1e-30),
        "alignment": jnp.mean(jnp.sum(jnp.square(first - second), axis=-1)),
        "uniformity": jnp.log1p(jnp.maximum(apart, -1 + 1e-7)),
    }


def told(metrics: Mapping[str, float], progress: float) -> Iterator[str]:
    """A warning, where all codes have become the same."""
    deviation = metrics.get("deviation")
    if deviation is not None and deviation < _COLLAPSED and progress > _EARLY:
        yield (
            f"warning: the codes collapse: their standard deviation is {deviation:.3f} of what it"
            " is on a sphere; try a lower learning rate, or another momentum or temperature"
        )
