"""Down-sampling after a blur, so that small shifts change little (Zhang 2019, arXiv:1904.11486)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def blur_pool(
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch (height+1)//2 (width+1)//2 channels"]:
    """Every second row and column of the images under the binomial filter [1, 2, 1] / 4.

    `Tri-3` of the paper, with reflected borders. Written with slices: there is a filter for each
    channel, and convolutions by channel are slow on accelerators and slower on CPU.
    """
    for axis in (1, 2):
        size = images.shape[axis]
        ends = [(int(each == axis),) * 2 for each in range(4)]
        padded = jnp.pad(images, ends, mode="reflect" if size > 1 else "edge")
        last = 2 * ((size + 1) // 2) - 1  # one behind the last that a slice from 0 takes
        left, middle, right = (
            jax.lax.slice_in_dim(padded, start, start + last, stride=2, axis=axis)
            for start in range(3)
        )
        images = (left + 2 * middle + right) / 4
    return images
