"""Checksums of what a checkpoint holds: of arrays on the device, and of text."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32


def array_checksum(array: Array) -> UInt32[Array, ""]:
    """Sum of all words times odd weights that depend on the place, modulo 2^32.

    Integer arithmetic, so it is the same on any device and mesh; an odd weight is invertible modulo
    2^32, so a single changed word always shows.
    """
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[array.dtype.itemsize]
    words = jax.lax.bitcast_convert_type(array, width).astype(jnp.uint32)
    # The place of a word is built from its indices, not from a flattened copy: shards stay put.
    place = jnp.uint32(0)
    for axis, size in enumerate(words.shape):
        index = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        place = place * jnp.uint32(size % 2**32) + index
    return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)


def text_checksum(body: Mapping[str, Any]) -> int:
    """CRC-32 of what JSON writes for `body`, keys in order."""
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())
