"""Operations that XLA:CPU runs many times faster when they are written differently.

Each function here is one operation of the field. On a CPU it is lowered to a rewrite that XLA:CPU
compiles well; on every other platform to the plain operation, which its compiler knows best. Which
of the two is decided when a program is lowered, so a program that is exported or compiled for an
accelerator on a machine without one contains no rewrite. Values and gradients are the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def max_pool_2x2(
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height//2 width//2 channels"]:
    """Return the maximum of each 2x2 block; an odd last row or column is left out.

    Of equal maxima the first gets the gradient. XLA:CPU's gradient of a windowed maximum is about
    30 times slower than that of the rewrite (128x28x28x32, two cores: 40 ms against 1.2).
    """

    def plain(images: Array) -> Array:
        return nn.max_pool(images, (2, 2), (2, 2))

    def rewrite(images: Array) -> Array:
        height, width = (size // 2 * 2 for size in images.shape[1:3])
        columns = _larger(images[:, :height, 0:width:2], images[:, :height, 1:width:2])
        return _larger(columns[:, 0::2], columns[:, 1::2])

    return _by_platform(rewrite, plain, images)


def max_pool_3x3(
    images: Float[Array, "batch height width channels"], stride: int
) -> Float[Array, "batch height_out width_out channels"]:
    """Return the maximum of each 3x3 window around every `stride`-th pixel, cut off at the border.

    Of equal maxima the first gets the gradient. The rewrite is about five times faster on a CPU
    (16x112x112x64, stride 2, two cores: forward and gradient take 25 ms instead of 136).
    """

    padding: Any = ((1, 1), (1, 1))  # Flax says that it is text

    def plain(images: Array) -> Array:
        return nn.max_pool(images, (3, 3), (stride, stride), padding)

    def rewrite(images: Array) -> Array:
        border = ((0, 0), (1, 1), (1, 1), (0, 0))
        padded = jnp.pad(images, border, constant_values=-jnp.inf)
        height, width = images.shape[1:3]
        columns = [padded[:, :, start : start + width : stride] for start in range(3)]
        largest = _larger(_larger(columns[0], columns[1]), columns[2])
        rows = [largest[:, start : start + height : stride] for start in range(3)]
        return _larger(_larger(rows[0], rows[1]), rows[2])

    return _by_platform(rewrite, plain, images)


def conv_1x1(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "1 1 channels features"],
    strides: Sequence[int] = (1, 1),
    *_: Any,
    precision: Any = None,
    **__: Any,
) -> Float[Array, "batch height_out width_out features"]:
    """Return a convolution with a kernel of one pixel; for `nn.Conv(conv_general_dilated=...)`.

    On a CPU it is a matrix product, up to six times faster than XLA's convolution, most of all in
    the gradient of the kernel (16x56x56x64 to 256, two cores: 275 against 137 GFLOP/s forward, and
    242 against 42 in that gradient). For a GPU the rewrite is worse than useless: XLA of jaxlib
    0.10 aborts when it fuses the product's reshapes.
    """
    strides = tuple(strides)

    def plain(images: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            strides,
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision,
        )

    def rewrite(images: Array, kernel: Array) -> Array:
        images = images[:, :: strides[0], :: strides[1]]
        # With two axes, as XLA:CPU copies products of more of them to contract them in the
        # gradient.
        pixels = images.reshape(-1, images.shape[-1])
        product = jnp.matmul(pixels, kernel[0, 0], precision=precision)
        return product.reshape(*images.shape[:3], -1)

    return _by_platform(rewrite, plain, images, kernel)


def _by_platform(cpu: Callable[..., Array], other: Callable[..., Array], *arrays: Array) -> Array:
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=other)


def _larger(one: Array, other: Array) -> Array:
    """The maximum, whose gradient goes to `one` where both are equal; NaN where either is."""
    return jnp.where((other > one) | jnp.isnan(other), other, one)
