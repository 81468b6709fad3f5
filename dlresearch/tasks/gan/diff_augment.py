"""DiffAugment: what a discriminator sees is augmented, real and generated alike (Zhao et al. 2020,
arXiv:2006.10738), and gradients run through to the generator.

Every example draws its own numbers. What draws them and what applies them are apart, so that tests
can apply given ones.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dlresearch.errors import UserError, suggest

Policy = Literal["colour", "translation", "cutout"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
_SHIFT = 1 / 8  # the longest translation, as a part of height and width
_HOLE = 1 / 2  # sides of a hole, likewise


class Colours(NamedTuple):
    """What `change_colours` takes; evenly from -0.5 to 0.5, 0 to 2 and 0.5 to 1.5."""

    brightness: Float[Array, " batch"]
    saturation: Float[Array, " batch"]
    contrast: Float[Array, " batch"]


def diff_augment(
    key: Key[Array, ""],
    images: Float[Array, "batch height width channels"],
    policy: Sequence[Policy],
) -> Float[Array, "batch height width channels"]:
    """Images changed as the policy says: colours, then place, then a hole.

    Args:
      images: in [-1, 1], with 1 or 3 channels.
      policy: of `colour`, `translation` and `cutout` any; none changes nothing.

    Raises:
      UserError: an unknown policy.
    """
    check_policy(policy)
    count, height, width, _ = images.shape
    colour_key, shift_key, hole_key = jax.random.split(key, 3)
    if "colour" in policy:
        images = change_colours(images, draw_colours(colour_key, count))
    if "translation" in policy:
        images = translate(images, draw_shifts(shift_key, count, height, width))
    if "cutout" in policy:
        images = cut_out(images, draw_places(hole_key, count, height, width))
    return images


def check_policy(policy: Sequence[str]) -> None:
    for name in [policy] if isinstance(policy, str) else policy:
        if name not in POLICIES:
            raise UserError(f"DiffAugment has no policy {name!r}; {suggest(name, POLICIES)}")


def draw_colours(key: Key[Array, ""], count: int) -> Colours:
    brightness, saturation, contrast = jax.random.uniform(key, (3, count))
    return Colours(brightness - 0.5, 2 * saturation, contrast + 0.5)


def change_colours(
    images: Float[Array, "batch height width channels"], colours: Colours
) -> Float[Array, "batch height width channels"]:
    """Brightness is added, saturation spreads about the mean of a pixel's channels (which leaves
    grey images as they are), contrast about the mean of the image.
    """
    brightness, saturation, contrast = (each[:, None, None, None] for each in colours)
    images = images + brightness
    if images.shape[-1] > 1:
        images = _about_mean(images, saturation, (3,))
    return _about_mean(images, contrast, (1, 2, 3))


def draw_shifts(key: Key[Array, ""], count: int, height: int, width: int) -> Int[Array, "count 2"]:
    """Pixels down and to the right, evenly to an eighth of height and width to either side."""
    most = jnp.array([int(height * _SHIFT + 0.5), int(width * _SHIFT + 0.5)])
    return jax.random.randint(key, (count, 2), -most, most + 1)


@jax.custom_vjp
def translate(
    images: Float[Array, "batch height width channels"], shift: Int[Array, "batch 2"]
) -> Float[Array, "batch height width channels"]:
    """Images moved down and to the right by whole pixels; what comes in is 0."""
    _, height, width, _ = images.shape
    row = jnp.arange(height) - shift[:, :1]
    column = jnp.arange(width) - shift[:, 1:]
    # Above the size is out of bounds, and filled; below 0 would count from the end.
    row, column = jnp.where(row < 0, height, row), jnp.where(column < 0, width, column)

    def one(image: Array, row: Array, column: Array) -> Array:
        return image.at[row[:, None], column].get(mode="fill", fill_value=0)

    return jax.vmap(one)(images, row, column)


def _translate_forward(images: Array, shift: Array) -> tuple[Array, Array]:
    return translate(images, shift), shift


def _translate_backward(shift: Array, slopes: Array) -> tuple[Array, None]:
    # Back by a gather, too. XLA's own way back is a scatter, slower on CPU, and on GPUs its
    # sums come in any order.
    return translate(slopes, -shift), None


translate.defvjp(_translate_forward, _translate_backward)


def draw_places(key: Key[Array, ""], count: int, height: int, width: int) -> Int[Array, "count 2"]:
    """Rows and columns of the middles of holes, evenly over the image; the border included, so that
    a hole can lie half outside.
    """
    sizes = jnp.array([height, width])
    even = jnp.array([1 - _hole(height) % 2, 1 - _hole(width) % 2])
    return jax.random.randint(key, (count, 2), 0, sizes + even)


def cut_out(
    images: Float[Array, "batch height width channels"], place: Int[Array, "batch 2"]
) -> Float[Array, "batch height width channels"]:
    """Images with a hole of 0 of half their height and width, its middle at `place`."""
    _, height, width, _ = images.shape
    rows = _within(place[:, 0], height)
    columns = _within(place[:, 1], width)
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], 0, images)


def _within(middle: Int[Array, " batch"], size: int) -> Bool[Array, "batch size"]:
    begin = middle[:, None] - _hole(size) // 2
    place = jnp.arange(size)
    return (place >= begin) & (place < begin + _hole(size))


def _hole(size: int) -> int:
    return int(size * _HOLE + 0.5)


def _about_mean(
    images: Float[Array, "batch height width channels"],
    factor: Float[Array, "batch 1 1 1"],
    axes: tuple[int, ...],
) -> Float[Array, "batch height width channels"]:
    mean = jnp.mean(images, axis=axes, keepdims=True)
    return mean + factor * (images - mean)
