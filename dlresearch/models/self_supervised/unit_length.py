"""Vectors of length 1, as heads give and losses compare them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_SMALLEST_SQUARE = 1e-24


def unit_length(
    vectors: Float[Array, "*rows features"], axis: int = -1
) -> Float[Array, "*rows features"]:
    """The vectors divided by their Euclidean norm along `axis`, in float32.

    One shorter than 1e-12 has no direction: it becomes zero and gets no gradient. Divided by a
    small number, as is common, a single row of dead units would get one of 1e12.
    """
    vectors = vectors.astype(jnp.float32)
    squares = jnp.sum(jnp.square(vectors), axis=axis, keepdims=True)
    directed = squares > _SMALLEST_SQUARE
    return jnp.where(directed, vectors * jax.lax.rsqrt(jnp.where(directed, squares, 1.0)), 0.0)
