"""Dropout masks from random bytes."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

_LEVELS = 256


def dropout_mask(
    key: Key[Array, ""], dropout: float, shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "..."]:
    """0 with probability `dropout`, to the nearest 256th, else what makes the mean 1.

    A random byte is enough for it. `jax.random.bernoulli` draws four and makes a float of them,
    which took almost a third of a training step of a recurrent translator on CPU.
    """
    *rest, last = shape
    dropped = round(dropout * _LEVELS)
    words = jax.random.bits(key, (*rest, -(-last // 4)), jnp.uint32)
    drawn = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(*rest, -1)[..., :last]
    return (drawn >= dropped).astype(dtype) * (_LEVELS / (_LEVELS - dropped))
