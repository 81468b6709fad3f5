"""Boxes of random area and shape, as random resized crops and erasing draw them."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

_ATTEMPTS = 10  # torchvision's


def draw_boxes(
    key: Key[Array, ""],
    count: int,
    within: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Int[Array, "count 4"], Bool[Array, " count"]]:
    """Boxes at even places that lie within images.

    Each is the first of ten tries that fits: a part of the area drawn evenly, a ratio drawn evenly
    in its logarithm.

    Args:
      within: height and width of the images in pixels.
      area: smallest and largest, as a part of that of the image.
      ratio: lowest and highest width divided by height.

    Returns:
      top, left, height and width of each in pixels; and whether one of the tries did fit.
    """
    height, width = within
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    tries = (count, _ATTEMPTS)
    pixels = height * width * jax.random.uniform(area_key, tries, minval=area[0], maxval=area[1])
    logarithm = jax.random.uniform(
        ratio_key, tries, minval=math.log(ratio[0]), maxval=math.log(ratio[1])
    )
    shape = jnp.exp(logarithm)
    widths = jnp.round(jnp.sqrt(pixels * shape)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(pixels / shape)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = jnp.argmax(fits, axis=1)[:, None]
    found = jnp.any(fits, axis=1)
    box_height = jnp.where(found, jnp.take_along_axis(heights, first, axis=1)[:, 0], height)
    box_width = jnp.where(found, jnp.take_along_axis(widths, first, axis=1)[:, 0], width)
    top = jax.random.randint(top_key, (count,), 0, height - box_height + 1)
    left = jax.random.randint(left_key, (count,), 0, width - box_width + 1)
    return jnp.stack([top, left, box_height, box_width], axis=1), found


def inside(
    box: Int[Array, "batch 4"], height: int, width: int
) -> Bool[Array, "batch height width 1"]:
    """Which pixels of images lie in the box (top, left, height, width) of each."""
    top, left, box_height, box_width = (part[:, None] for part in box.T)
    row, column = jnp.arange(height), jnp.arange(width)
    rows = (row >= top) & (row < top + box_height)
    columns = (column >= left) & (column < left + box_width)
    return (rows[:, :, None] & columns[:, None, :])[..., None]
