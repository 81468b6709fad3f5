"""The synthesis network of StyleGAN2: from styles to images, by modulated convolutions."""

from collections.abc import Callable
from math import sqrt
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dlresearch.models.cpu import conv_1x1
from dlresearch.models.gan.stylegan2_layers import (
    EqualisedDense,
    activate,
    channels_at,
    convolve,
    equalised_kernel,
)
from dlresearch.models.gan.stylegan2_resampling import convolve_up, upsample
from dlresearch.models.whitening import CONSTANTS

Architecture = Literal["skip", "residual"]
NOISE = "noise"
"""The random stream of the noise."""


def modulated_convolution(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows columns channels features"],
    scales: Float[Array, "batch channels"],
    convolve: Callable[[Array, Array], Array],
    *,
    demodulate: bool,
) -> Float[Array, "batch height_out width_out features"]:
    """A convolution of each example with its own kernel w'[k, i, j] = scales[i] * kernel[k, i, j].

    Demodulated, w'' = w' / sqrt(sum of w'^2 over k and i, + 1e-8) (Karras et al. 2020,
    arXiv:1912.04958, equations 1 to 3). Scaling the inputs and the outputs of one convolution with
    `kernel` is the same, and takes no convolution in as many groups as there are examples.

    Args:
      images: in the type of the computation.
      kernel: float32.
      scales: float32.
      convolve: linear in its images, and without a bias, such as `convolve_up`.
      demodulate: whether outputs are brought to unit variance, for inputs of unit variance.
    """
    dtype = images.dtype
    if demodulate and dtype == jnp.float16:
        # Demodulation cancels the size of the scales, and so they do not reach float16's limit.
        scales = scales / jnp.abs(scales).max(axis=-1, keepdims=True)
    outputs = convolve(images * scales[:, None, None].astype(dtype), kernel.astype(dtype))
    if not demodulate:
        return outputs
    power = jnp.matmul(
        jnp.square(scales), jnp.square(kernel).sum((0, 1)), precision=jax.lax.Precision.HIGHEST
    )
    return outputs * jax.lax.rsqrt(power + 1e-8)[:, None, None].astype(dtype)


class StyledConvolution(nn.Module):
    """A modulated 3x3 convolution, noise, a bias and a leaky rectifier.

    In training noise differs between examples; otherwise it is a constant of the collection
    `constants`.

    Attributes:
      features: channels of the output.
      double: twice the size, under the filter [1, 3, 3, 1].
      gain: times which the output is.
    """

    features: int
    double: bool
    gain: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        style: Float[Array, "batch width"],
        noise: Float[Array, "batch height_out width_out 1"] | None,
    ) -> Float[Array, "batch height_out width_out features"]:
        """Without noise, that of the state; it starts as the noise of the first example of all."""
        channels = images.shape[-1]
        scales = EqualisedDense(channels, bias=1.0, param_dtype=self.param_dtype, name="style")
        kernel = equalised_kernel(self, (3, 3, channels, self.features), self.param_dtype)
        strength = self.param("noise_strength", nn.initializers.zeros, (), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        x = modulated_convolution(
            images.astype(self.dtype),
            kernel,
            scales(style),
            convolve_up if self.double else convolve,
            demodulate=True,
        )
        if noise is None:
            noise = self.get_variable(CONSTANTS, "noise")
        elif self.is_initializing():
            self.put_variable(CONSTANTS, "noise", noise[0])
        return activate(x + (noise * strength + bias).astype(self.dtype), self.gain)


class Picture(nn.Module):
    """A modulated 1x1 convolution to the channels of images, without demodulation, in float32."""

    channels: int
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch height width inputs"], style: Float[Array, "batch w"]
    ) -> Float[Array, "batch height width channels"]:
        inputs = features.shape[-1]
        scales = EqualisedDense(inputs, bias=1.0, param_dtype=self.param_dtype, name="style")
        kernel = equalised_kernel(self, (1, 1, inputs, self.channels), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), self.param_dtype)
        outputs = modulated_convolution(
            features, kernel, scales(style), _to_float32, demodulate=False
        )
        return outputs + bias.astype(jnp.float32)


class Block(nn.Module):
    """The layers of one resolution: two convolutions, in the first block one, and a picture.

    Attributes:
      features: channels of the convolutions.
      channels: of the picture; 0 for none.
      first: whether it makes its input itself, a learned constant 4x4.
      architecture: of the generator.
    """

    features: int
    channels: int
    first: bool
    architecture: Architecture
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width inputs"] | None,
        picture: Float[Array, "batch height width channels"] | None,
        styles: Float[Array, "batch layers width"],
        noises: list[Float[Array, "batch h w 1"]] | None,
    ) -> tuple[Float[Array, "batch h w features"], Float[Array, "batch h w channels"] | None]:
        """What the next block gets; the picture is the one of the smaller block, doubled, and its
        own.

        Styles are taken in turn; where there is no picture, its style stays unused. Noises are
        those of the convolutions, None for the constant ones.
        """
        residual = self.architecture == "residual" and not self.first
        gain = sqrt(0.5) if residual else 1.0
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        shortcut = None
        if x is None:
            start, shape = nn.initializers.normal(1.0), (4, 4, self.features)
            constant = self.param("constant_embedding", start, shape, self.param_dtype)
            x = jnp.broadcast_to(constant.astype(self.dtype), (styles.shape[0], *shape))
        else:
            if residual:
                shortcut = Shortcut(self.features, name="shortcut", **types)(x) * gain
            conv = StyledConvolution(self.features, True, 1.0, name="conv_1", **types)
            x, styles = conv(x, styles[:, 0], None if noises is None else noises[0]), styles[:, 1:]
        conv = StyledConvolution(self.features, False, gain, name="conv_2", **types)
        x = conv(x, styles[:, 0], None if noises is None else noises[-1])
        if shortcut is not None:
            x = x + shortcut
        if not self.channels:
            return x, None
        own = Picture(self.channels, self.param_dtype, name="picture")(x, styles[:, 1])
        return x, own if picture is None else upsample(picture) + own


class Shortcut(nn.Module):
    """A 1x1 convolution without a bias, and twice the size."""

    features: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch 2*height 2*width features"]:
        kernel = equalised_kernel(self, (1, 1, x.shape[-1], self.features), self.param_dtype)
        return upsample(conv_1x1(x.astype(self.dtype), kernel.astype(self.dtype)))


class Synthesis(nn.Module):
    """Blocks `block_4`, `block_8` and so on to `size`; attributes as those of the generator."""

    size: int
    channels: int
    channel_base: int
    channel_max: int
    architecture: Architecture
    float32_below: int
    remat: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, styles: Float[Array, "batch layers width"], *, train: bool
    ) -> Float[Array, "batch size size channels"]:
        block: Any = nn.remat(Block) if self.remat else Block
        noises = self._noises(len(styles)) if train or self.is_initializing() else None
        x = picture = None
        resolution, layer = 4, 0
        while True:
            last = resolution == self.size
            made = block(
                channels_at(resolution, self.channel_base, self.channel_max),
                self.channels if last or self.architecture == "skip" else 0,
                x is None,
                self.architecture,
                self.dtype if resolution >= self.float32_below else jnp.float32,
                self.param_dtype,
                name=f"block_{resolution}",
            )
            # The picture's style is also that of the next block's first convolution.
            count = 2 if x is None else 3
            x, picture = made(
                x, picture, styles[:, layer : layer + count], noises and noises[resolution]
            )
            if last:
                return picture
            resolution, layer = 2 * resolution, layer + count - 1

    def _noises(self, batch: int) -> dict[int, list[Float[Array, "batch h w 1"]]]:
        """New noise by resolution for each convolution.

        Of one draw, as each takes XLA longer to compile than the layer it is for.
        """
        resolutions = [2**exponent for exponent in range(2, self.size.bit_length())]
        # One convolution at 4x4, two at the others.
        sides = [4, *(side for side in resolutions[1:] for _ in range(2))]
        drawn = jax.random.normal(self.make_rng(NOISE), (batch, sum(side**2 for side in sides)))
        noises: dict[int, list[Array]] = {side: [] for side in resolutions}
        start = 0
        for side in sides:
            flat = jax.lax.slice_in_dim(drawn, start, start + side**2, axis=1)
            noises[side].append(flat.reshape(batch, side, side, 1))
            start += side**2
        return noises


def _to_float32(images: Array, kernel: Array) -> Array:
    """A convolution of size 1 whose sums and outputs are float32, whatever the inputs are."""
    pixels = images.reshape(-1, images.shape[-1])
    product = jnp.matmul(pixels, kernel[0, 0], preferred_element_type=jnp.float32)
    return product.reshape(*images.shape[:3], -1)
