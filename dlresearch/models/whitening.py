"""Whitening of image patches: a first layer computed from images instead of learned.

As in the speed runs on CIFAR-10 since Page 2019 (myrtle.ai, "How to train your ResNet 8: Bag of
tricks") and Jordan 2024, arXiv:2404.00498.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped
from numpy.lib.stride_tricks import sliding_window_view

CONSTANTS = "constants"
"""The collection of what no gradient changes and no batch does either."""
CHUNK = 256
"""Images whose patches are in memory at a time: 24 MB in float64 for CIFAR-10 and size 2."""


def whitening_kernel(
    images: Shaped[np.ndarray, "examples height width channels"],
    size: int = 2,
    epsilon: float = 5e-4,
) -> Float[np.ndarray, "size size channels outputs"]:
    """The kernel of a convolution after which all patches have uncorrelated entries.

    With the eigenvectors v and eigenvalues l of the second moments of all size x size patches, not
    centred, its filters are v / sqrt(l + epsilon), the largest l first, and then their negatives:
    2 * size * size * channels of them. The negatives keep, behind a rectifier, what the filters
    lose there.

    Args:
      images: normalised as the network gets them.
      size: height and width of a patch.
      epsilon: keeps directions without variance from becoming noise.

    Returns:
      float32; computed in float64.
    """
    entries = size * size * images.shape[-1]
    moments, patches_seen = np.zeros((entries, entries)), 0
    for start in range(0, len(images), CHUNK):
        chunk = np.asarray(images[start : start + CHUNK], np.float64)
        windows = sliding_window_view(chunk, (size, size), axis=(1, 2))  # channels before window
        patches = np.moveaxis(windows, 3, -1).reshape(-1, entries)
        moments += patches.T @ patches
        patches_seen += len(patches)
    values, vectors = np.linalg.eigh(moments / patches_seen)
    # Rounding may leave an eigenvalue of zero a little below it.
    filters = (vectors / np.sqrt(np.maximum(values, 0) + epsilon))[:, ::-1]
    kernel = np.concatenate([filters, -filters], axis=1)
    return kernel.reshape(size, size, images.shape[-1], 2 * entries).astype(np.float32)


class Whitening(nn.Module):
    """A convolution without padding whose kernel is a constant, and whose bias is learned.

    The kernel is in the collection `constants` and so a part of the state: it is saved, averaged
    and restored with it, and no optimizer, weight decay or gradient norm sees it. Until it is
    replaced by that of `whitening_kernel`, it is the one for uncorrelated pixels: each filter reads
    one pixel of the patch.

    Attributes:
      size: height and width of a patch.
    """

    size: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"]
    ) -> Float[Array, "batch height-size+1 width-size+1 outputs"]:
        channels = images.shape[-1]
        entries = self.size * self.size * channels

        def start() -> Float[Array, "size size channels outputs"]:
            filters = jnp.eye(entries, dtype=jnp.float32)
            kernel = jnp.concatenate([filters, -filters], axis=1)
            return kernel.reshape(self.size, self.size, channels, 2 * entries)

        kernel = self.variable(CONSTANTS, "kernel", start).value
        bias = self.param("bias", nn.initializers.zeros, (2 * entries,), self.param_dtype)
        outputs = jax.lax.conv_general_dilated(
            images.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1, 1),
            padding="VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return outputs + bias.astype(self.dtype)
