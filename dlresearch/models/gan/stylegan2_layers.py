"""What generator and discriminator of StyleGAN2 share: the equalised learning rate, activations.

With an equalised learning rate (Karras et al. 2018, arXiv:1710.10196, section 4.1) parameters start
with a standard deviation of 1 and are scaled to that of He et al. where they are used, so that Adam
changes all layers at the same relative pace.
"""

from collections.abc import Sequence
from math import prod, sqrt
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dlresearch.errors import UserError
from dlresearch.models.cpu import conv_1x1
from dlresearch.models.gan.stylegan2_resampling import convolve_down, downsample

GAIN = sqrt(2)
"""Of a leaky rectifier: it keeps the second moment (He et al. 2015, arXiv:1502.01852)."""
SLOPE = 0.2
LARGEST = 256.0
"""Activations are cut off here in float16 (Karras et al. 2020, arXiv:2006.06676, appendix D.1)."""


class EqualisedDense(nn.Module):
    """A dense layer with an equalised learning rate, in float32.

    Attributes:
      features: size of the output.
      learning_rate_multiplier: of this layer; 0.01 in mapping networks, which are unstable at the
        rate of the others.
      bias: what the bias starts from.
    """

    features: int
    learning_rate_multiplier: float = 1.0
    bias: float = 0.0
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch inputs"]) -> Float[Array, "batch features"]:
        inputs = inputs.astype(jnp.float32)
        rate = self.learning_rate_multiplier
        kernel = equalised_kernel(self, (inputs.shape[-1], self.features), self.param_dtype, rate)
        start = nn.initializers.constant(self.bias / rate)
        bias = self.param("bias", start, (self.features,), self.param_dtype)
        return inputs @ kernel + bias.astype(jnp.float32) * rate


class EqualisedConv(nn.Module):
    """A convolution with an equalised learning rate that keeps the size, or halves it.

    Attributes:
      features: channels of the output.
      kernel_size: 1 or 3.
      halve: under the filter [1, 3, 3, 1].
      bias: whether there is a bias, then a leaky rectifier.
      gain: times which the output is.
    """

    features: int
    kernel_size: Literal[1, 3] = 3
    halve: bool = False
    bias: bool = True
    gain: float = 1.0
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height_out width_out features"]:
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = equalised_kernel(self, shape, self.param_dtype).astype(self.dtype)
        images = images.astype(self.dtype)
        if self.kernel_size == 1:
            # A filter with a bias of 0 and a product of pixels may change places.
            outputs = conv_1x1(downsample(images) if self.halve else images, kernel)
        else:
            outputs = (convolve_down if self.halve else convolve)(images, kernel)
        if not self.bias:
            return outputs * self.gain
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        return activate(outputs + bias.astype(self.dtype), self.gain)


def equalised_kernel(
    module: nn.Module,
    shape: Sequence[int],
    param_dtype: DTypeLike,
    learning_rate_multiplier: float = 1.0,
) -> Float[Array, "..."]:
    """The parameter `kernel` of a module, in float32, as it is used: N(0, 1 / fan-in) at the start.

    Kept is N(0, 1) divided by `learning_rate_multiplier`.
    """
    start = nn.initializers.normal(1 / learning_rate_multiplier)
    kernel = module.param("kernel", start, tuple(shape), param_dtype)
    return kernel.astype(jnp.float32) * (learning_rate_multiplier / sqrt(prod(shape[:-1])))


def convolve(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "batch height width features"]:
    """A convolution of stride 1 with zeros around the image."""
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def activate(
    inputs: Float[Array, "batch *spatial features"], gain: float = 1.0
) -> Float[Array, "batch *spatial features"]:
    """A leaky rectifier times `gain * sqrt(2)`; in float16 cut off at +-256, times `gain`."""
    outputs = jax.nn.leaky_relu(inputs, SLOPE) * (GAIN * gain)
    if outputs.dtype == jnp.float16:
        outputs = jnp.clip(outputs, -LARGEST * gain, LARGEST * gain)
    return outputs


def normalise(
    inputs: Float[Array, "batch features"],
) -> Float[Array, "batch features"]:
    """Each row divided by the root of its second moment, mean(x^2)."""
    return inputs * jax.lax.rsqrt(jnp.square(inputs).mean(-1, keepdims=True) + 1e-8)


def check_size(size: int, model: str) -> None:
    """Raises UserError for what is no power of two from 8 to 1024, naming the nearest sizes."""
    sizes = [2**exponent for exponent in range(3, 11)]
    if size not in sizes:
        nearest = sorted(sorted(sizes, key=lambda each: abs(each - size))[:2])
        raise UserError(
            f"size={size}: {model} makes its images by doubling 4x4; the nearest sizes are"
            f" {nearest[0]} and {nearest[1]}"
        )


def channels_at(resolution: int, base: int, largest: int) -> int:
    """Channels of the layers with `resolution` pixels a side: config F has 32768 and 512."""
    return max(1, min(base // resolution, largest))
