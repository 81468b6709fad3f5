"""Filters of ADA (Karras et al. 2020, arXiv:2006.06676, appendix B), as matrices that act on rows
or columns, with the reflection at the border in them.

A matrix product is one fast call on every device, forwards and backwards, where a convolution with
a filter of its own for each image, or with reflected borders, is several.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

# Low-pass decomposition filters of the symlets of 2 and 6 vanishing moments (Daubechies 1992, Ten
# Lectures on Wavelets, table 6.3), to double precision as in PyWavelets.
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
BEFORE = 5
"""Taps of SYM6 before the one that lies on a pixel, up to half a pixel of the finer grid."""

BANDS = 4
_POWER = np.array([10, 1, 1, 1]) / 13  # of natural images in the bands, about 1/f
_STRENGTH_DEVIATION = 1.0  # of the logarithm to base 2


def reflected(place: np.ndarray, size: int) -> np.ndarray:
    """The pixel that stands at a whole place where an image of `size` pixels goes on by reflection
    without end, the border not repeated.
    """
    period = max(1, 2 * (size - 1))
    place = place % period
    return np.minimum(place, period - place)


@cache
def upsampling(size: int) -> Float[np.ndarray, "fine size"]:
    """To two samples a pixel, over one period of the image that goes on by reflection: 4 (size - 1)
    of them. Sample 2 i lies on pixel i.
    """
    period = max(1, 2 * (size - 1))
    matrix = np.zeros((2 * period, size))
    for pixel in range(period):
        for tap, value in enumerate(SYM6):
            fine = (2 * pixel - BEFORE + tap) % (2 * period)
            matrix[fine, reflected(np.array(pixel), size)] += np.sqrt(2) * value
    return matrix.astype(np.float32)


@cache
def downsampling(size: int) -> Float[np.ndarray, "size fine"]:
    """Back from two samples a pixel; the first sample lies `BEFORE` before the first pixel.

    With the same filter, backwards: up and down again is no change, as shifts of SYM6 by two are
    orthogonal.
    """
    matrix = np.zeros((size, 2 * size - 2 + len(SYM6)))
    for pixel in range(size):
        matrix[pixel, 2 * pixel : 2 * pixel + len(SYM6)] = np.array(SYM6) / np.sqrt(2)
    return matrix.astype(np.float32)


def band_filters() -> Float[np.ndarray, "4 taps"]:
    """Filters of four bands, [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and [pi/2, pi] about, which add
    up to no change: the wavelet transform by SYM2, without decimation.
    """
    low = np.array(SYM2)
    high = low * (-1.0) ** np.arange(len(low))
    smooth, rough = (np.convolve(each, each[::-1]) / 2 for each in (low, high))
    bank = np.eye(BANDS, 1)
    for band in range(1, BANDS):
        apart = np.zeros((BANDS, 2 * bank.shape[1] - 1))
        apart[:, ::2] = bank
        bank = np.stack([np.convolve(each, smooth) for each in apart])
        first = (bank.shape[1] - len(rough)) // 2
        bank[band, first : first + len(rough)] += rough
    return bank


@cache
def filtering(size: int) -> Float[np.ndarray, "4 size size"]:
    """Each band of `size` pixels in a row, which go on by reflection."""
    filters = band_filters()
    matrix = np.zeros((BANDS, size, size))
    pixel = np.arange(size)
    for tap in range(filters.shape[1]):
        source = reflected(pixel + tap - filters.shape[1] // 2, size)
        matrix[:, pixel, source] += filters[:, tap, None]
    return matrix.astype(np.float32)


class Bands(NamedTuple):
    """How strong each image's bands are, and which images are filtered at all."""

    strength: Float[Array, "batch 4"]
    filtered: Bool[Array, " batch"]


def draw_bands(key: Key[Array, ""], probability: Float[Array, ""] | float, count: int) -> Bands:
    """Each band is amplified by a log-normal factor with the probability, and all then scaled so
    that a natural image keeps its power.
    """
    factor_key, choice_key = jax.random.split(key)
    exponent = _STRENGTH_DEVIATION * jax.random.normal(factor_key, (count, BANDS))
    choice = jax.random.bernoulli(choice_key, probability, (count, BANDS))
    factor = jnp.exp2(jnp.where(choice, exponent, 0))
    # One band after the other: each brings its factor, and takes away the power that it added.
    power = 1 + _POWER * (jnp.square(factor) - 1)
    strength = factor / jnp.sqrt(jnp.prod(power, axis=1, keepdims=True))
    return Bands(strength, jnp.any(choice, axis=1))


def filter_bands(
    images: Float[Array, "batch height width channels"], bands: Bands
) -> Float[Array, "batch height width channels"]:
    """Images with their bands amplified along rows and along columns."""
    _, height, width, _ = images.shape
    rows, columns = (
        jnp.einsum("nb,bij->nij", bands.strength, filtering(size), precision="highest")
        for size in (height, width)
    )
    changed = jnp.einsum("nij,njwc->niwc", rows, images, precision="highest")
    changed = jnp.einsum("nij,nhjc->nhic", columns, changed, precision="highest")
    return jnp.where(bands.filtered[:, None, None, None], changed, images)
