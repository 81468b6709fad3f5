"""Whitening of image patches: a first layer computed from images instead of learned.

As in the speed runs on CIFAR-10 since Page 2019 (myrtle.ai, "How to train your ResNet 8: Bag of
tricks") and Jordan 2024, arXiv:2404.00498.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

CONSTANTS = "constants"
"""The collection of what no gradient changes and no batch does either."""


def whitening_kernel(
    images: Shaped[Array, "examples height width channels"], size: int = 2, epsilon: float = 5e-4
) -> Float[Array, "size size channels outputs"]:
    """The kernel of a convolution after which all patches have uncorrelated entries.

    With the eigenvectors v and eigenvalues l of the second moments of all size x size patches, not
    centred, its filters are v / sqrt(l + epsilon), the largest l first, and then their negatives:
    2 * size * size * channels of them. The negatives keep, behind a rectifier, what the filters
    lose there.

    Args:
      images: normalised as the network gets them.
      size: height and width of a patch.
      epsilon: keeps directions without variance from becoming noise.
    """
    examples, height, width, channels = images.shape
    rows, columns = height - size + 1, width - size + 1
    pixels = images.astype(jnp.float32)
    patches = jnp.stack(
        [
            pixels[:, row : row + rows, column : column + columns]
            for row in range(size)
            for column in range(size)
        ],
        axis=3,
    ).reshape(examples, rows, columns, -1)
    moments = jnp.einsum("erci,ercj->ij", patches, patches, precision=jax.lax.Precision.HIGHEST) / (
        examples * rows * columns
    )
    values, vectors = jnp.linalg.eigh(moments)
    # Rounding may leave an eigenvalue of zero a little below it.
    filters = (vectors / jnp.sqrt(jnp.maximum(values, 0) + epsilon))[:, ::-1]
    kernel = jnp.concatenate([filters, -filters], axis=1)
    return kernel.reshape(size, size, channels, -1)


class Whitening(nn.Module):
    """A convolution without padding whose kernel is a constant, and whose bias is learned.

    The kernel is that of `whitening_kernel` for the images that `init` sees. It is in the
    collection `constants` and so a part of the state: it is saved, averaged and restored with it,
    and no optimizer, weight decay or gradient norm sees it.

    Attributes:
      size: height and width of a patch.
      epsilon: added to the eigenvalues.
    """

    size: int
    epsilon: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"]
    ) -> Float[Array, "batch height-size+1 width-size+1 outputs"]:
        def start() -> Float[Array, "size size channels outputs"]:
            return whitening_kernel(images, self.size, self.epsilon)

        kernel = self.variable(CONSTANTS, "kernel", start).value
        bias = self.param("bias", nn.initializers.zeros, kernel.shape[-1:], self.param_dtype)
        outputs = jax.lax.conv_general_dilated(
            images.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1, 1),
            padding="VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return outputs + bias.astype(self.dtype)
