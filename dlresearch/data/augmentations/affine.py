"""Images rotated, scaled, sheared and moved."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dlresearch.data.augmentations.augmentation import (
    Batch,
    Images,
    check_interval,
    check_probability,
    image_of,
    sometimes,
    stored,
)
from dlresearch.errors import UserError

Interpolation = Literal["nearest", "bilinear"]


class Affine:
    """Rotate, scale, shear and move images by random amounts, about their middle.

    The draws are those of torchvision's RandomAffine.

    Args:
      degrees: the largest rotation, to either side.
      translate: the largest move down or up, and right or left, as parts of height and width.
      scale: lowest and highest magnification.
      shear: the largest shear along rows, in degrees to either side.
      interpolation: `nearest` or `bilinear`, without anti-aliasing.
      fill: what comes from outside of the image, in the units that it has here.
      probability: that an image is changed.
    """

    random = True

    def __init__(
        self,
        degrees: float,
        translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        interpolation: Interpolation = "bilinear",
        fill: float = 0.0,
        probability: float = 1.0,
    ):
        if not 0 <= degrees <= 180:
            raise UserError(f"affine: degrees={degrees} is not in [0, 180]")
        if not all(0 <= part <= 1 for part in translate):
            raise UserError(f"affine: translate={tuple(translate)} is not in [0, 1]")
        if not 0 <= shear < 90:
            raise UserError(f"affine: shear={shear} is not in [0, 90)")
        check_interval("affine", "scale", scale)
        check_probability("affine", probability)
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, scale, shear
        self.interpolation: Interpolation = interpolation
        self.fill, self.probability = fill, probability

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "affine")
        matrix_key, choice_key = jax.random.split(key)
        matrix = self.draw(matrix_key, *image.shape[:3])
        changed = affine(image, matrix, self.fill, self.interpolation)
        return {**batch, "image": sometimes(choice_key, self.probability, changed, image)}

    def draw(
        self, key: Key[Array, ""], count: int, height: int, width: int
    ) -> Float[Array, "count 2 3"]:
        """Maps as `affine` takes them."""
        angle_key, move_key, scale_key, shear_key = jax.random.split(key, 4)
        angle = jnp.deg2rad(self.degrees) * _either_side(angle_key, (count,))
        shear = jnp.deg2rad(self.shear) * _either_side(shear_key, (count,))
        low, high = self.scale
        scale = jax.random.uniform(scale_key, (count,), minval=low, maxval=high)
        largest = jnp.array(self.translate) * jnp.array([height, width])
        move = largest * _either_side(move_key, (count, 2))
        return about_middle(angle, shear, scale, move, height, width)


def affine(
    image: Images,
    matrix: Float[Array, "batch 2 3"],
    fill: float,
    interpolation: Interpolation = "bilinear",
) -> Images:
    """Images seen through affine maps.

    Args:
      matrix: from the place (x to the right, y down, 1) of a pixel of the result to that in the
        image it comes from; the first pixel is at (0.5, 0.5), as in Pillow.
      fill: for places outside of the image.
      interpolation: `bilinear` rounds uint8 to the nearest, and repeats pixels at the border.
    """
    _, height, width, _ = image.shape
    x, y = jnp.arange(width) + 0.5, (jnp.arange(height) + 0.5)[:, None]
    (xx, xy, x0), (yx, yy, y0) = (
        [matrix[:, row, column, None, None] for column in range(3)] for row in range(2)
    )
    from_x, from_y = xx * x + xy * y + x0, yx * x + yy * y + y0
    within = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    if interpolation == "nearest":
        found = _pixels(image, jnp.floor(from_y), jnp.floor(from_x))
    else:
        found = _between(image, from_y - 0.5, from_x - 0.5)
    return _filled(found, within, fill)


def about_middle(
    angle: Float[Array, " batch"],
    shear: Float[Array, " batch"],
    scale: Float[Array, " batch"],
    move: Float[Array, "batch 2"],
    height: int,
    width: int,
) -> Float[Array, "batch 2 3"]:
    """The maps, as `affine` takes them, that shear along rows, rotate (radians, clockwise), scale
    and then move (down and right, in pixels).
    """
    cos, sin, tan = jnp.cos(angle), jnp.sin(angle), jnp.tan(shear)
    # The inverse of rotation @ shear = [[cos, -sin], [sin, cos]] @ [[1, -tan], [0, 1]].
    x, y = (cos - tan * sin, sin + tan * cos), (-sin, cos)
    linear = jnp.stack([jnp.stack(x, axis=-1), jnp.stack(y, axis=-1)], axis=-2)
    linear = linear / scale[:, None, None]
    middle = jnp.array([width / 2, height / 2])
    # A sum and no product of matrices, which accelerators would round to 8 or 11 bits.
    offset = middle - jnp.sum(linear * (middle + move[:, ::-1])[:, None, :], axis=-1)
    return jnp.concatenate([linear, offset[:, :, None]], axis=-1)


def _either_side(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _pixels(
    image: Images,
    row: Float[Array, "batch height width"],
    column: Float[Array, "batch height width"],
) -> Images:
    """The pixels at whole places; those outside are the next ones inside."""
    count, height, width, channels = image.shape
    row = jnp.clip(row.astype(jnp.int32), 0, height - 1)
    column = jnp.clip(column.astype(jnp.int32), 0, width - 1)
    place: Int[Array, "batch pixel"] = (row * width + column).reshape(count, -1)
    # By `vmap`, so that XLA sees that no image needs the pixels of another device.
    found = jax.vmap(lambda pixels, at: pixels[at])(image.reshape(count, -1, channels), place)
    return found.reshape(image.shape)


def _between(
    image: Images,
    row: Float[Array, "batch height width"],
    column: Float[Array, "batch height width"],
) -> Images:
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]

    def corner(rows: float, columns: float) -> Float[Array, "batch height width channel"]:
        return _pixels(image, top + rows, left + columns).astype(jnp.float32)

    above = corner(0, 0) * (1 - right) + corner(0, 1) * right
    below = corner(1, 0) * (1 - right) + corner(1, 1) * right
    return stored(above * (1 - down) + below * down, image.dtype)


def _filled(found: Images, within: Bool[Array, "batch height width"], fill: float) -> Images:
    return jnp.where(within[..., None], found, jnp.asarray(fill, found.dtype))
