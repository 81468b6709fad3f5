"""Changes of colour of ADA (Karras et al. 2020, arXiv:2006.06676, appendix B.3).

All of an image are composed into one map of (red, green, blue, 1), and carried out at once. Images
are in [-1, 1], and may leave it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

_BRIGHTNESS_DEVIATION = 0.2
_CONTRAST_DEVIATION = 0.5  # of the logarithm to base 2
_SATURATION_DEVIATION = 1.0  # likewise
_GREY = np.full((3, 3), 1 / 3, np.float32)  # projects onto the axis of greys
# Cross product with the unit vector of that axis.
_ABOUT_GREY = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.sqrt(3)


class Colours(NamedTuple):
    """What changes the colours of each image."""

    brightness: Float[Array, " batch"]  # is added
    contrast: Float[Array, " batch"]  # a factor
    flip: Float[Array, " batch"]  # 1 where light and dark change sides, else 0
    hue: Float[Array, " batch"]  # a turn about the axis of greys, in radians
    saturation: Float[Array, " batch"]  # a factor


def draw_colours(key: Key[Array, ""], probability: Float[Array, ""] | float, count: int) -> Colours:
    """Each with the probability."""
    normal_key, even_key = jax.random.split(key)
    brightness, contrast, saturation = jax.random.normal(normal_key, (3, count))
    flip, hue, *chances = jax.random.uniform(even_key, (7, count))
    chosen = [chance < probability for chance in chances]
    return Colours(
        jnp.where(chosen[0], _BRIGHTNESS_DEVIATION * brightness, 0),
        jnp.where(chosen[1], jnp.exp2(_CONTRAST_DEVIATION * contrast), 1),
        jnp.where(chosen[2], jnp.floor(2 * flip), 0),
        jnp.where(chosen[3], math.pi * (2 * hue - 1), 0),
        jnp.where(chosen[4], jnp.exp2(_SATURATION_DEVIATION * saturation), 1),
    )


def of_colours(colours: Colours) -> tuple[Float[Array, "batch 3 3"], Float[Array, "batch 3"]]:
    """The factors of a map and what it adds: brightness first, then contrast, flip (a reflection
    about the plane of no lightness), hue and saturation. The identity is exact.
    """
    brightness, contrast, flip, hue, saturation = (each[:, None, None] for each in colours)
    identity = jnp.eye(3)
    flipping = identity - 2 * flip * _GREY
    turning = jnp.cos(hue) * identity + jnp.sin(hue) * _ABOUT_GREY + (1 - jnp.cos(hue)) * _GREY
    saturating = saturation * identity + (1 - saturation) * _GREY
    factors = jnp.matmul(turning, flipping, precision="highest")
    factors = contrast * jnp.matmul(saturating, factors, precision="highest")
    return factors, jnp.sum(factors * brightness, axis=-1)


def change_colours(
    images: Float[Array, "batch height width channels"], colours: Colours
) -> Float[Array, "batch height width channels"]:
    """Images with one channel or three, seen through the maps; hue and saturation do not change
    grey ones.
    """
    factors, added = of_colours(colours)
    if images.shape[-1] == 1:
        factor = jnp.sum(jnp.mean(factors, axis=1), axis=-1)
        return images * factor[:, None, None, None] + jnp.mean(added, axis=1)[:, None, None, None]
    # Sums, and no product of matrices, which accelerators would round.
    changed = added[:, None, None, :]
    for channel in range(3):
        changed += images[..., channel, None] * factors[:, None, None, :, channel]
    return changed
