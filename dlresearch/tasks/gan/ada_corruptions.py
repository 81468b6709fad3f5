"""Noise and holes of ADA (Karras et al. 2020, arXiv:2006.06676, appendix B.5)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

_NOISE_DEVIATION = 0.1  # of the standard deviation of an image's noise
_HOLE = 0.5  # sides of a hole, as a part of height and width


class Holes(NamedTuple):
    """Where the middle of a hole is, and which images have one."""

    place: Float[Array, "batch 2"]  # right and down, from 0 to 1
    cut: Bool[Array, " batch"]


def draw_noise(
    key: Key[Array, ""],
    probability: Float[Array, ""] | float,
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Noise to add to images: normal, its standard deviation half-normal for each image."""
    noise_key, deviation_key, choice_key = jax.random.split(key, 3)
    each = (images.shape[0], 1, 1, 1)
    deviation = _NOISE_DEVIATION * jnp.abs(jax.random.normal(deviation_key, each))
    deviation = jnp.where(jax.random.bernoulli(choice_key, probability, each), deviation, 0)
    return deviation * jax.random.normal(noise_key, images.shape)


def draw_holes(key: Key[Array, ""], probability: Float[Array, ""] | float, count: int) -> Holes:
    right, down, chance = jax.random.uniform(key, (3, count))
    return Holes(jnp.stack([right, down], axis=1), chance < probability)


def cut_out(
    images: Float[Array, "batch height width channels"], holes: Holes
) -> Float[Array, "batch height width channels"]:
    """Images with a hole of 0 of half their width and height, which may lie half outside."""
    _, height, width, _ = images.shape
    columns = _near(holes.place[:, 0], width)
    rows = _near(holes.place[:, 1], height)
    hole = rows[:, :, None] & columns[:, None, :] & holes.cut[:, None, None]
    return jnp.where(hole[..., None], 0, images)


def _near(middle: Float[Array, " batch"], size: int) -> Bool[Array, "batch size"]:
    return jnp.abs((jnp.arange(size) + 0.5) / size - middle[:, None]) < _HOLE / 2
