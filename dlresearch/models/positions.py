"""Where a token stands: position embeddings for sequences that come from a grid."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

TEMPERATURE = 10_000.0
"""Ratio of the longest to the shortest wave length, as in Vaswani et al. 2017, section 3.5."""


def sincos_2d(height: int, width: int, features: int) -> Float[Array, "1 height*width features"]:
    """Sines and cosines of column and row, for the patches of an image in row-major order.

    A quarter of the features each for sin and cos of the column, then of the row, with frequencies
    from 1 to 1 / TEMPERATURE in geometric steps (Chen et al. 2021, arXiv:2104.02057, as Beyer et
    al. 2022, arXiv:2205.01580, write it). `features` divides by 4.
    """
    quarter = features // 4
    frequencies = TEMPERATURE ** -(jnp.arange(quarter) / max(quarter - 1, 1))
    rows, columns = jnp.mgrid[:height, :width]
    waves = [
        wave(positions.reshape(-1, 1) * frequencies)
        for positions in (columns, rows)
        for wave in (jnp.sin, jnp.cos)
    ]
    return jnp.concatenate(waves, axis=1)[None]


def sinusoids(positions: Int[Array, "*rest"], features: int) -> Float[Array, "*rest features"]:
    """Sines, then cosines, of positions in a sequence, with frequencies from 1 to 1 / TEMPERATURE
    in geometric steps (Vaswani et al. 2017, section 3.5, which has the two of a frequency side by
    side). `features` divides by 2.
    """
    frequencies = TEMPERATURE ** -(jnp.arange(features // 2) / max(features // 2 - 1, 1))
    angles = positions[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class LearnedPositions(nn.Module):
    """Adds to each token a vector that belongs to its place in the sequence.

    The parameter is called `bias` [1, tokens, features]: the patterns that weight decay and the
    sharding rules go by treat it as the offset it is.

    Attributes:
      longest: places there are; None takes as many as the first sequence has, and no others fit.
      dtype: of the computation.
      param_dtype: of the parameter.
    """

    longest: int | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "batch tokens features"]
    ) -> Float[Array, "batch tokens features"]:
        _, time, features = tokens.shape
        shape = (1, self.longest or time, features)
        # As in timm and DeiT (Touvron et al. 2021, arXiv:2012.12877).
        start = nn.initializers.truncated_normal(0.02)
        bias = self.param("bias", start, shape, self.param_dtype).astype(self.dtype)
        return tokens + bias[:, :time]
