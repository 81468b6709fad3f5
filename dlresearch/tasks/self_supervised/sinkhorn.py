"""Codes of SwAV: prototypes shared out evenly among the images of a batch (Caron et al. 2020,
arXiv:2006.09882).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sinkhorn_knopp(
    scores: Float[Array, "rows prototypes"], epsilon: float, iterations: int
) -> Float[Array, "rows prototypes"]:
    """Soft codes of the rows, of which every prototype gets about as much (section 3.1 and
    algorithm A.1).

    `exp(scores / epsilon)` is scaled in turn: every column to the same sum, then every row. In
    float32 and by logarithms, so that no small epsilon overflows. Over the whole batch, wherever
    its rows lie.

    Args:
      scores: cosines of the rows with the prototypes.

    Returns:
      Codes; each row sums to 1. Without iterations they are `softmax(scores / epsilon)`.
    """
    codes = scores.astype(jnp.float32) / epsilon
    for _ in range(iterations):
        codes = codes - jax.nn.logsumexp(codes, axis=0, keepdims=True)
        codes = codes - jax.nn.logsumexp(codes, axis=1, keepdims=True)
    return jax.nn.softmax(codes, axis=1)
