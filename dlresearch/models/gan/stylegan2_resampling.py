"""Twice the size and half of it under the filter [1, 3, 3, 1], alone and with a 3x3 convolution.

StyleGAN2 (Karras et al. 2020, arXiv:1912.04958, appendix B) filters wherever it resamples. The
filter is separable, and here sums of slices, as convolutions by channel are slow.

What convolves and resamples at once is a sum of matrix products, one for each of the four parities
(row, column) of the pixels of the larger image: a quarter of the operations that convolving the
larger image takes, and on CPU XLA's convolutions with a stride or a dilation are far slower in
their gradients, most of all in that of the kernel of a transposed one.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]
Larger = Float[Array, "batch 2*height 2*width channels"]
Smaller = Float[Array, "batch height/2 width/2 channels"]
ROWS, COLUMNS = 1, 2


def upsample(images: Images) -> Larger:
    """Zeros between the pixels, then the filter, whose taps sum to 4: constants stay constant.

    Outside of the image is 0, as in all functions here.
    """
    top, bottom = _upsampled(images, ROWS)
    return _interleaved((_upsampled(top, COLUMNS), _upsampled(bottom, COLUMNS)))


def downsample(images: Images) -> Smaller:
    """The filter, whose taps sum to 1, then every second pixel of both axes, which are even."""
    for axis in (ROWS, COLUMNS):
        even, odd = _parities(images, axis)
        size = even.shape[axis]
        # Pixel i is (x[2i - 1] + 3 x[2i] + 3 x[2i + 1] + x[2i + 2]) / 8.
        ends = _window(_padded(odd, axis, 1, 0), axis, 0, size) + _window(
            _padded(even, axis, 0, 1), axis, 1, size
        )
        images = (ends + 3 * (even + odd)) / 8
    return images


def convolve_up(
    images: Images, kernel: Float[Array, "3 3 channels features"]
) -> Float[Array, "batch 2*height 2*width features"]:
    """A transposed convolution with stride 2, then the filter with taps that sum to 4.

    The former makes 2 * size + 1 pixels of size, where pixel 2i + k gets kernel[k] times pixel i of
    the images; the filter leaves 2 * size of them.
    """
    by_rows, by_columns = _neighbours(images, ROWS), _neighbours(images, COLUMNS)
    parities = (
        (
            _product(_neighbours(by_rows, COLUMNS), kernel[::-2, ::-2], swap=True),
            _product(by_rows, kernel[::-2, 1]),
        ),
        (_product(by_columns, kernel[1, ::-2]), _product(images, kernel[1, 1])),
    )
    even, odd = (_blurred_to_up(*columns, COLUMNS) for columns in parities)
    left, right = (_blurred_to_up(*rows, ROWS) for rows in zip(even, odd, strict=True))
    return _interleaved(tuple(zip(left, right, strict=True)))


def convolve_down(
    images: Images, kernel: Float[Array, "3 3 channels features"]
) -> Float[Array, "batch height/2 width/2 features"]:
    """The filter with taps that sum to 1 over the images with a border of two pixels, then a
    convolution with stride 2 and no padding. Sizes are even.
    """
    rows, columns = images.shape[ROWS] // 2, images.shape[COLUMNS] // 2
    (ee, eo), (oe, oo) = (
        _blurred_to_down(each, COLUMNS) for each in _blurred_to_down(images, ROWS)
    )

    def both(parity: Images, axis: int, size: int) -> Images:
        parts = (_window(parity, axis, start, size) for start in (0, 1))
        return jnp.concatenate(tuple(parts), axis=-1)

    return (
        _product(both(both(ee, ROWS, rows), COLUMNS, columns), kernel[::2, ::2], swap=True)
        + _product(both(eo, ROWS, rows), kernel[::2, 1])
        + _product(both(oe, COLUMNS, columns), kernel[1, ::2])
        + _product(oo, kernel[1, 1])
    )


def _upsampled(images: Images, axis: int) -> tuple[Images, Images]:
    """The even and the odd pixels along an axis of the image of twice the size."""
    size = images.shape[axis]
    padded = _padded(images, axis, 1, 1)
    before, after = _window(padded, axis, 0, size), _window(padded, axis, 2, size)
    return (before + 3 * images) / 4, (3 * images + after) / 4


def _blurred_to_up(even: Images, odd: Images, axis: int) -> tuple[Images, Images]:
    """Pixels 0 to 2 * size - 1 of the filter over 2 * size + 1 pixels, by parity, taps sum to 2."""
    size = odd.shape[axis]
    padded = _padded(odd, axis, 1, 1)
    before, after = _window(padded, axis, 0, size), _window(padded, axis, 2, size)
    this, following = _window(even, axis, 0, size), _window(even, axis, 1, size)
    return (before + 3 * (this + odd) + following) / 4, (this + 3 * (odd + following) + after) / 4


def _blurred_to_down(images: Images, axis: int) -> tuple[Images, Images]:
    """All `size + 1` pixels of the filter over the images with a border of two, by parity.

    Pixel k is (x[k - 2] + 3 x[k - 1] + 3 x[k] + x[k + 1]) / 8.
    """
    even, odd = _parities(images, axis)
    size = even.shape[axis]
    evens, odds = _padded(even, axis, 1, 1), _padded(odd, axis, 1, 1)
    ends = _window(evens, axis, 0, size + 1) + _window(odds, axis, 1, size + 1)
    middle = _window(odds, axis, 0, size + 1) + _window(evens, axis, 1, size + 1)
    odd_ends = _window(odds, axis, 0, size) + _window(evens, axis, 2, size)
    return (ends + 3 * middle) / 8, (odd_ends + 3 * (even + odd)) / 8


def _neighbours(images: Images, axis: int) -> Float[Array, "batch rows columns 2*channels"]:
    """Pixels i - 1 and i, for i from 0 to the size of the axis, side by side in the last axis."""
    return jnp.concatenate([_padded(images, axis, 1, 0), _padded(images, axis, 0, 1)], axis=-1)


def _product(
    pixels: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "*taps channels features"],
    *,
    swap: bool = False,
) -> Float[Array, "batch height width features"]:
    """Each pixel times the kernel, whose taps are joined; `swap`: the first tap varies fastest."""
    if swap:
        kernel = kernel.swapaxes(0, 1)
    flat = pixels.reshape(-1, pixels.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return flat.reshape(*pixels.shape[:3], -1)


def _interleaved(parities: tuple[tuple[Images, ...], ...]) -> Larger:
    """One image of its pixels by parity of row and column."""
    batch, height, width, channels = parities[0][0].shape
    rows = jnp.stack([jnp.stack(row, axis=3) for row in parities], axis=2)
    return rows.reshape(batch, 2 * height, 2 * width, channels)


def _parities(images: Images, axis: int) -> tuple[Images, Images]:
    """The even and the odd pixels along an axis."""
    shape = images.shape
    pairs = images.reshape(*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :])
    return jnp.take(pairs, 0, axis=axis + 1), jnp.take(pairs, 1, axis=axis + 1)


def _padded(images: Images, axis: int, before: int, after: int) -> Images:
    return jnp.pad(images, [(before, after) if each == axis else (0, 0) for each in range(4)])


def _window(images: Images, axis: int, start: int, size: int) -> Images:
    return jax.lax.slice_in_dim(images, start, start + size, axis=axis)
