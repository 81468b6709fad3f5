"""Levels from 0 to 255 (see `values`), each mapped by itself: solarised, posterised, stretched or
equalised.

Definitions are those of Pillow's ImageOps; whole levels give the same, but for the stretched ones,
which Pillow does not round but cuts off.
"""

from abc import abstractmethod

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dlresearch.data.augmentations.augmentation import (
    Batch,
    check_probability,
    image_of,
    sometimes,
)
from dlresearch.data.augmentations.colour import Pixels
from dlresearch.data.augmentations.values import WHITE, Levels
from dlresearch.errors import UserError

_BINS = 256


class _Tones:
    """What these augmentations share: the same change of some of the images."""

    random = True

    def __init__(
        self,
        name: str,
        probability: float,
        black: tuple[float, ...] | None,
        white: tuple[float, ...] | None,
    ):
        check_probability(name, probability)
        self.name, self.probability = name, probability
        self.levels = Levels(name, black, white)

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, self.name)
        changed = self.levels.back(self.change(self.levels.of(image)), image)
        return {**batch, "image": sometimes(key, self.probability, changed, image)}

    @abstractmethod
    def change(self, levels: Pixels) -> Pixels:
        """The changed images."""


class Solarise(_Tones):
    """Invert what is bright.

    The default probability is that of BYOL for the second view (Grill et al. 2020,
    arXiv:2006.07733, appendix B).

    Args:
      threshold: levels from this one on, of 0 to 255, become 255 minus themselves.
      probability: that an image is changed.
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    def __init__(
        self,
        threshold: float = 128.0,
        probability: float = 0.2,
        black: tuple[float, ...] | None = None,
        white: tuple[float, ...] | None = None,
    ):
        super().__init__("solarise", probability, black, white)
        if not 0 <= threshold <= WHITE + 1:
            raise UserError(f"solarise: threshold={threshold} is not in [0, 256]")
        self.threshold = threshold

    def change(self, levels: Pixels) -> Pixels:
        return solarise(levels, self.threshold)


class Posterise(_Tones):
    """Keep only the highest bits of each level.

    Args:
      bits: how many of 8 are kept.
      probability: that an image is changed.
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    def __init__(
        self,
        bits: int = 4,
        probability: float = 0.5,
        black: tuple[float, ...] | None = None,
        white: tuple[float, ...] | None = None,
    ):
        super().__init__("posterise", probability, black, white)
        if not 1 <= bits <= 8:
            raise UserError(f"posterise: bits={bits} is not in [1, 8]")
        self.bits = bits

    def change(self, levels: Pixels) -> Pixels:
        return posterise(levels, jnp.int32(self.bits))


class Autocontrast(_Tones):
    """Stretch each channel of an image so that it reaches from black to white.

    Args:
      probability: that an image is changed.
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    def __init__(
        self,
        probability: float = 0.5,
        black: tuple[float, ...] | None = None,
        white: tuple[float, ...] | None = None,
    ):
        super().__init__("autocontrast", probability, black, white)

    def change(self, levels: Pixels) -> Pixels:
        return autocontrast(levels)


class Equalise(_Tones):
    """Map the levels of each channel of an image so that about as many pixels have each.

    Args:
      probability: that an image is changed.
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    def __init__(
        self,
        probability: float = 0.5,
        black: tuple[float, ...] | None = None,
        white: tuple[float, ...] | None = None,
    ):
        super().__init__("equalise", probability, black, white)

    def change(self, levels: Pixels) -> Pixels:
        return equalise(levels)


def solarise(levels: Pixels, threshold: Float[Array, "..."] | float) -> Pixels:
    """Levels from `threshold` on inverted."""
    return jnp.where(levels >= threshold, WHITE - levels, levels)


def posterise(levels: Pixels, bits: Int[Array, "..."]) -> Pixels:
    """Levels with their lowest bits and their fraction cut off, so that `bits` of 8 are left."""
    step = (1 << (8 - bits)).astype(jnp.float32)
    return jnp.floor(levels / step) * step


def autocontrast(levels: Pixels) -> Pixels:
    """Each channel of each image from 0 to 255; one of a single level stays as it is."""
    low = jnp.min(levels, axis=(1, 2), keepdims=True)
    high = jnp.max(levels, axis=(1, 2), keepdims=True)
    flat = high <= low
    stretched = (levels - low) * (WHITE / jnp.where(flat, 1.0, high - low))
    return jnp.where(flat, levels, stretched)


def equalise(levels: Pixels) -> Pixels:
    """Each channel of each image with an even histogram, of 256 bins; result in whole levels."""
    channels = levels.shape[-1]
    whole = jnp.clip(jnp.round(levels), 0, WHITE).astype(jnp.int32)
    places = whole + _BINS * jnp.arange(channels)

    def one(places: Int[Array, "height width channel"]) -> Int[Array, "height width channel"]:
        # A scatter and a gather: on CPU 10 times faster than one-hot products, and 100 times than
        # comparisons with all levels. Whole numbers, as sums of these are the same in any order.
        histogram = jnp.zeros(_BINS * channels, jnp.int32).at[places.ravel()].add(1)
        table = jax.vmap(_equalising)(histogram.reshape(channels, _BINS))
        # It is in order. But what is sorted XLA:CPU computes once, and not anew for each pixel.
        return jnp.sort(table, axis=1).ravel()[places]

    return jax.vmap(one)(places).astype(jnp.float32)


def _equalising(histogram: Int[Array, " level"]) -> Int[Array, " level"]:
    """What each level becomes, in whole numbers as `PIL.ImageOps.equalize` counts."""
    last = _BINS - 1 - jnp.argmax(histogram[::-1] > 0)
    step = (jnp.sum(histogram) - histogram[last]) // (_BINS - 1)
    below = jnp.cumsum(histogram) - histogram
    table = (below + step // 2) // jnp.maximum(step, 1)
    # A step of 0: hardly more pixels than levels, or a single level.
    return jnp.where(step == 0, jnp.arange(_BINS), jnp.clip(table, 0, _BINS - 1))
