"""Brightness, contrast, saturation and hue, on levels from 0 to 255 (see `values`).

Definitions are those of torchvision and of Pillow's ImageEnhance; levels are not rounded between
two changes, and to the nearest at the end, where Pillow cuts off the fraction after each.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dlresearch.data.augmentations.augmentation import (
    Batch,
    by_image,
    check_probability,
    image_of,
    sometimes,
)
from dlresearch.data.augmentations.values import WHITE, Levels
from dlresearch.errors import UserError

Pixels: TypeAlias = Float[Array, "batch height width channel"]

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as in Pillow


class ColourJitter:
    """Change brightness, contrast, saturation and hue by random amounts, in random order.

    The draws are those of torchvision's ColorJitter, for each image by itself; the defaults are
    those of BYOL (Grill et al. 2020, arXiv:2006.07733, appendix B).

    Args:
      brightness: factors are drawn from 1 - brightness to 1 + brightness; 0 leaves it out.
      contrast: likewise.
      saturation: likewise.
      hue: the largest turn of the colour circle, to either side; 0.5 is half of it.
      probability: that an image is changed.
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    random = True

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        probability: float = 0.8,
        black: tuple[float, ...] | None = None,
        white: tuple[float, ...] | None = None,
    ):
        self.strengths = (brightness, contrast, saturation, hue)
        if min(self.strengths) < 0:
            raise UserError("colour_jitter: brightness, contrast, saturation or hue is negative")
        if hue > 0.5:
            raise UserError(f"colour_jitter: hue={hue} is more than half of the circle, 0.5")
        check_probability("colour_jitter", probability)
        self.probability = probability
        self.levels = Levels("colour_jitter", black, white)

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "colour_jitter")
        draw_key, choice_key = jax.random.split(key)
        order, amounts = self.draw(draw_key, image.shape[0])
        levels = self.levels.of(image)
        has_hue = self.strengths[HUE] > 0
        for place in range(order.shape[1]):
            levels = jitter(levels, order[:, place], amounts, has_hue)
        changed = self.levels.back(levels, image)
        return {**batch, "image": sometimes(choice_key, self.probability, changed, image)}

    def draw(
        self, key: Key[Array, ""], count: int
    ) -> tuple[Int[Array, "count used"], Float[Array, "count 4"]]:
        """The order of changes, without those of strength 0; and the factors of brightness,
        contrast and saturation, and the turn of the hue.
        """
        order_key, amount_key = jax.random.split(key)
        used = jnp.array([each for each in range(4) if self.strengths[each]], jnp.int32)
        order = jnp.argsort(jax.random.uniform(order_key, (count, len(used))), axis=1)
        strength = jnp.array(self.strengths)
        middle = jnp.array([1.0, 1.0, 1.0, 0.0])
        low = jnp.where(middle > 0, jnp.maximum(0.0, middle - strength), -strength)
        amounts = jax.random.uniform(amount_key, (count, 4), minval=low, maxval=middle + strength)
        return used[order], amounts


class Grayscale:
    """Take the colour out of images, which keep their channels.

    Args:
      probability: that an image is changed; the default is that of SimCLR (arXiv:2002.05709).
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    random = True

    def __init__(
        self,
        probability: float = 0.2,
        black: tuple[float, ...] | None = None,
        white: tuple[float, ...] | None = None,
    ):
        check_probability("grayscale", probability)
        self.probability = probability
        self.levels = Levels("grayscale", black, white)

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "grayscale")
        levels = self.levels.of(image)
        changed = self.levels.back(jnp.broadcast_to(grey(levels), levels.shape), image)
        return {**batch, "image": sometimes(key, self.probability, changed, image)}


def jitter(
    levels: Pixels, change: Int[Array, " batch"], amounts: Float[Array, "batch 4"], has_hue: bool
) -> Pixels:
    """One of the four changes to each image, which `change` says; False for `has_hue` where no hue
    is among them.
    """
    amount = by_image(jnp.take_along_axis(amounts, change[:, None], axis=1)[:, 0])
    change = by_image(change)
    base = jnp.where(change == CONTRAST, mean_grey(levels), 0.0)
    base = jnp.where(change == SATURATION, grey(levels), base)
    changed = blend(base, levels, amount)
    if has_hue and levels.shape[-1] == 3:
        changed = jnp.where(change == HUE, turn_hue(levels, amount), changed)
    elif has_hue:
        changed = jnp.where(change == HUE, levels, changed)
    return changed


def blend(base: Float[Array, "..."], levels: Pixels, factor: Float[Array, "batch 1 1 1"]) -> Pixels:
    """From `base` (factor 0) to `levels` (factor 1) and beyond, within 0 to 255.

    With black as base it is a change of brightness, with `grey` of saturation, with the mean of
    `grey` of contrast, with a smoothed image of sharpness.
    """
    return jnp.clip(base + factor * (levels - base), 0.0, WHITE)


def grey(levels: Pixels) -> Float[Array, "batch height width 1"]:
    """Levels without colour.

    Raises:
      UserError: images have neither one nor three channels.
    """
    channels = levels.shape[-1]
    if channels == 1:
        return levels
    if channels != 3:
        raise UserError(f"images have {channels} channels; colours need 1 (grey) or 3 (RGB)")
    red, green, blue = jnp.split(levels, 3, axis=-1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def mean_grey(levels: Pixels) -> Float[Array, "batch 1 1 1"]:
    """The mean of each image without colour: the base of contrast."""
    return grey(jnp.mean(levels, axis=(1, 2), keepdims=True))  # faster than the mean of the greys


def turn_hue(levels: Pixels, turns: Float[Array, "batch 1 1 1"]) -> Pixels:
    """RGB levels with the hue of HSV turned by so many circles, value and saturation as they were.

    By the formula of the way back that has no cases: with h the hue in sixths of a circle, channel
    n (5 red, 3 green, 1 blue) is value - chroma * clip(min(k, 4 - k), 0, 1), k = (n + h) modulo 6.
    """
    red, green, blue = jnp.split(levels, 3, axis=-1)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    divisor = jnp.where(chroma == 0, 1.0, chroma)
    # Compared with each other and not with `value`: XLA may compute a channel twice, with another
    # rounding, and then none of them would equal their maximum.
    hue = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / divisor,
        jnp.where(green >= blue, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    circles = (jnp.array([5.0, 3.0, 1.0]) + hue) / 6 + turns
    k = 6 * (circles - jnp.floor(circles))  # XLA:CPU takes 15 times as long for %
    return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0.0, 1.0)
