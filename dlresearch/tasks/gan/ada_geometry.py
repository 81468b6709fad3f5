"""Geometric changes of ADA (Karras et al. 2020, arXiv:2006.06676, appendix B.1 and B.2).

All of an image are composed into one map from places of the result to places of the image, in
pixels about the middle, (x to the right, y down, 1), and carried out at once.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dlresearch.tasks.gan.ada_filters import BEFORE, downsampling, upsampling

_WHOLE_MOVE = 0.125  # the longest, as a part of width and height
_SCALE_DEVIATION = 0.2  # of the logarithm to base 2
_STRETCH_DEVIATION = 0.2  # likewise
_MOVE_DEVIATION = 0.125  # as a part of width and height


class Blits(NamedTuple):
    """What moves whole pixels."""

    mirrored: Float[Array, " batch"]  # 1 where left and right change sides, else 0
    quarters: Float[Array, " batch"]  # quarter turns, 0 to 3
    move: Float[Array, "batch 2"]  # whole pixels, right and down


class Warps(NamedTuple):
    """What resamples; turns in radians."""

    scale: Float[Array, " batch"]
    turn_before: Float[Array, " batch"]
    stretch: Float[Array, " batch"]  # wider by it, and lower by it
    turn_after: Float[Array, " batch"]
    move: Float[Array, "batch 2"]  # pixels, right and down


def draw_blits(
    key: Key[Array, ""],
    probability: Float[Array, ""] | float,
    count: int,
    height: int,
    width: int,
) -> Blits:
    """Each drawn evenly from what it can be, no change included, with the probability."""
    # Few draws of many numbers: each is a program of its own to compile and to start.
    mirrored, quarters, right, down, *chances = jax.random.uniform(key, (7, count))
    moves = [
        jnp.round(_WHOLE_MOVE * (2 * part - 1) * size)
        for part, size in ((right, width), (down, height))
    ]
    chosen = [chance < probability for chance in chances]
    return Blits(
        jnp.where(chosen[0], jnp.floor(2 * mirrored), 0),
        jnp.where(chosen[1], jnp.floor(4 * quarters), 0),
        jnp.where(chosen[2][:, None], jnp.stack(moves, axis=1), 0),
    )


def draw_warps(
    key: Key[Array, ""],
    probability: Float[Array, ""] | float,
    count: int,
    height: int,
    width: int,
) -> Warps:
    """Each with the probability; one of the two turns or both with it."""
    normal_key, even_key = jax.random.split(key)
    scale, stretch, right, down = jax.random.normal(normal_key, (4, count))
    *turns, chance, first, second, third, fourth = jax.random.uniform(even_key, (7, count))
    before, after = (math.pi * (2 * turn - 1) for turn in turns)
    move = _MOVE_DEVIATION * jnp.stack([width * right, height * down], axis=1)
    either = 1 - jnp.sqrt(jnp.clip(1 - probability, 0, 1))
    return Warps(
        jnp.where(chance < probability, jnp.exp2(_SCALE_DEVIATION * scale), 1),
        jnp.where(first < either, before, 0),
        jnp.where(second < probability, jnp.exp2(_STRETCH_DEVIATION * stretch), 1),
        jnp.where(third < either, after, 0),
        jnp.where((fourth < probability)[:, None], move, 0),
    )


def of_blits(blits: Blits) -> Float[Array, "batch 3 3"]:
    """The map of blits: mirrored first, then turned counter-clockwise, then moved. Exact."""
    quarters = blits.quarters.astype(jnp.int32)
    cos, sin = (jnp.array(each)[quarters] for each in ([1.0, 0, -1, 0], [0.0, 1, 0, -1]))
    one = jnp.ones_like(cos)
    return _product(_scaling(1 - 2 * blits.mirrored, one), _turning(cos, sin), _moving(-blits.move))


def of_warps(warps: Warps) -> Float[Array, "batch 3 3"]:
    """The map of warps: scaled first, turned counter-clockwise, stretched, turned, then moved."""
    return _product(
        _scaling(1 / warps.scale, 1 / warps.scale),
        _turning(jnp.cos(warps.turn_before), jnp.sin(warps.turn_before)),
        _scaling(1 / warps.stretch, warps.stretch),
        _turning(jnp.cos(warps.turn_after), jnp.sin(warps.turn_after)),
        _moving(-warps.move),
    )


def blitted(
    images: Float[Array, "batch height width channels"], maps: Float[Array, "batch 3 3"]
) -> Float[Array, "batch height width channels"]:
    """Images seen through maps of whole pixels, reflected at the border."""
    _, height, width, channels = images.shape
    row, column = jnp.arange(height), jnp.arange(width)
    x, y = _sources(maps, row[:, None], column, height, width)
    place = _reflected(jnp.round(y), height) * width + _reflected(jnp.round(x), width)
    return _pixels(images.reshape(len(images), -1, channels), place)


def warped(
    images: Float[Array, "batch height width channels"], maps: Float[Array, "batch 3 3"]
) -> Float[Array, "batch height width channels"]:
    """Images seen through maps: to twice the samples, between them bilinearly, and down again, so
    that nothing is blurred or aliased; reflected at the border without end.

    An image whose map moves whole pixels only comes out exactly so.
    """
    _, height, width, _ = images.shape
    whole = jnp.all(maps == jnp.round(maps), axis=(1, 2))
    whole &= jnp.all(jnp.abs(maps[:, :2, :2]) <= 1, axis=(1, 2))
    fine = _resized(images, upsampling(height), upsampling(width))
    down, across = downsampling(height), downsampling(width)
    row = (jnp.arange(down.shape[1]) - BEFORE) / 2
    column = (jnp.arange(across.shape[1]) - BEFORE) / 2
    x, y = _sources(maps, row[:, None], column, height, width)
    seen = _resized(_between(fine, 2 * y, 2 * x), down, across)
    return jnp.where(whole[:, None, None, None], blitted(images, maps), seen)


def _between(
    fine: Float[Array, "batch rows columns channels"],
    row: Float[Array, "batch height width"],
    column: Float[Array, "batch height width"],
) -> Float[Array, "batch height width channels"]:
    """Bilinear between samples that repeat without end."""
    count, rows, columns, channels = fine.shape
    table = fine.reshape(count, -1, channels)
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]
    above, first = top.astype(jnp.int32) % rows, left.astype(jnp.int32) % columns
    below, second = (above + 1) % rows, (first + 1) % columns

    def along(line: Int[Array, "batch height width"]) -> Float[Array, "batch height width values"]:
        start = _pixels(table, line * columns + first)
        return start * (1 - right) + _pixels(table, line * columns + second) * right

    return along(above) * (1 - down) + along(below) * down


def _pixels(
    table: Float[Array, "batch places values"], place: Int[Array, "batch height width"]
) -> Float[Array, "batch height width values"]:
    # By `vmap`, so that XLA sees that no image needs the pixels of another device.
    return jax.vmap(lambda values, at: values.at[at].get(mode="promise_in_bounds"))(table, place)


def _sources(
    maps: Float[Array, "batch 3 3"], row: Array, column: Array, height: int, width: int
) -> tuple[Float[Array, "batch rows columns"], Float[Array, "batch rows columns"]]:
    """Where (x, y) in the image the pixels of the result come from, the first pixel at (0, 0)."""
    x, y = column - (width - 1) / 2, row - (height - 1) / 2
    (xx, xy, x0), (yx, yy, y0) = ([maps[:, i, j, None, None] for j in range(3)] for i in range(2))
    return (
        xx * x + xy * y + (x0 + (width - 1) / 2),
        yx * x + yy * y + (y0 + (height - 1) / 2),
    )


def _reflected(place: Float[Array, "*shape"], size: int) -> Int[Array, "*shape"]:
    period = max(1, 2 * (size - 1))
    place = place.astype(jnp.int32) % period
    return jnp.minimum(place, period - place)


def _resized(
    images: Float[Array, "batch height width channels"], rows: np.ndarray, columns: np.ndarray
) -> Float[Array, "batch new_height new_width channels"]:
    images = jnp.einsum("ij,njwc->niwc", rows, images, precision="highest")
    return jnp.einsum("ij,nhjc->nhic", columns, images, precision="highest")


def _product(*maps: Float[Array, "batch 3 3"]) -> Float[Array, "batch 3 3"]:
    product = maps[0]
    for each in maps[1:]:
        product = jnp.matmul(product, each, precision="highest")
    return product


def _scaling(x: Float[Array, " batch"], y: Float[Array, " batch"]) -> Float[Array, "batch 3 3"]:
    return _map([x, 0, 0], [0, y, 0])


def _turning(cos: Float[Array, " batch"], sin: Float[Array, " batch"]) -> Float[Array, "batch 3 3"]:
    # y runs down: the result is turned counter-clockwise as one sees it.
    return _map([cos, -sin, 0], [sin, cos, 0])


def _moving(by: Float[Array, "batch 2"]) -> Float[Array, "batch 3 3"]:
    return _map([1, 0, by[:, 0]], [0, 1, by[:, 1]])


def _map(*rows: list) -> Float[Array, "batch 3 3"]:
    entries = [*rows[0], *rows[1], 0, 0, 1]
    count = next(len(each) for each in entries if isinstance(each, jax.Array))
    full = [jnp.broadcast_to(jnp.asarray(each, jnp.float32), (count,)) for each in entries]
    return jnp.stack(full, axis=-1).reshape(count, 3, 3)
