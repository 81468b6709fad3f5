"""Dropout masks from random bytes."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

_LEVELS = 256


def dropout_mask(
    key: Key[Array, ""], dropout: float, shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "..."]:
    """0 with probability `dropout`, to the nearest 256th, else what makes the mean 1.

    A random byte is enough for it, where `jax.random.bernoulli` draws four and makes a float of
    them: on a CPU that is a part of a recurrent network's step that one sees.
    """
    *rest, last = shape
    dropped = round(dropout * _LEVELS)
    words = jax.random.bits(key, (*rest, -(-last // 4)), jnp.uint32)
    drawn = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(*rest, -1)[..., :last]
    return (drawn >= dropped).astype(dtype) * (_LEVELS / (_LEVELS - dropped))


class Dropout(nn.Module):
    """`flax.linen.Dropout` with masks of `dropout_mask`.

    Attributes:
      rate: share of the elements set to 0 in training.
      locked: the same ones at all steps of a sequence [batch, time, features] (Gal and Ghahramani
        2016, arXiv:1512.05287).
    """

    rate: float
    locked: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time features"], *, train: bool
    ) -> Float[Array, "batch time features"]:
        if not (train and self.rate):
            return x
        shape = (x.shape[0], 1 if self.locked else x.shape[1], x.shape[2])
        return x * dropout_mask(self.make_rng("dropout"), self.rate, shape, x.dtype)
