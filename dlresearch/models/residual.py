"""Residual blocks, in the two orders of normalisation, activation and convolution.

He et al. 2016, arXiv:1512.03385 (version 1) and arXiv:1603.05027 (version 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dlresearch.models.blur_pool import blur_pool
from dlresearch.models.cpu import conv_1x1
from dlresearch.models.stochastic_depth import drop_branch, drop_rates

Version = Literal[1, 2]
EXPANSION = 4
"""Outputs of a bottleneck block for each channel of its 3x3 convolution."""


@dataclass(frozen=True)
class Style:
    """What all blocks of a network have in common."""

    version: Version
    bottleneck: bool
    blur: bool
    zero_init: bool
    dropout: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    def conv(self, features: int, size: int, stride: int, name: str, zero: bool = False) -> nn.Conv:
        """Padded alike on all sides, as in PyTorch; Flax's `SAME` is not where it strides."""
        # He et al. 2015, arXiv:1502.01852, eq. 14, for the backward pass.
        start = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        return nn.Conv(
            features,
            (size, size),
            stride,
            padding=size // 2,
            use_bias=False,
            kernel_init=nn.initializers.zeros if zero else start,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=conv_1x1 if size == 1 else None,
            name=name,
        )

    def norm(self, train: bool, name: str, zero: bool = False) -> nn.BatchNorm:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            scale_init=nn.initializers.zeros if zero else nn.initializers.ones,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def layers(self, features: int, stride: int) -> list[tuple[int, int, int]]:
        """Features, size and stride of the convolutions of a block."""
        if self.bottleneck:
            return [(features, 1, 1), (features, 3, stride), (EXPANSION * features, 1, 1)]
        return [(features, 3, stride), (features, 3, 1)]

    def stride(self, stride: int) -> int:
        """The stride of a convolution in a block; none where `blurred` strides for it."""
        return 1 if self.blur else stride

    def blurred(self, x: Array, stride: int) -> Array:
        """What lies behind a convolution with this stride and its activation."""
        return blur_pool(x) if self.blur and stride > 1 else x


def residual_stages(
    x: Float[Array, "batch height width channels"],
    train: bool,
    blocks: Sequence[int],
    widths: Sequence[int],
    style: Style,
    stochastic_depth: float,
    remat: bool,
) -> Float[Array, "batch height_out width_out channels_out"]:
    """All stages, inside a compact module; every one but the first halves the resolution.

    Args:
      blocks: of each stage.
      widths: of each stage, the channels of its 3x3 convolutions.
      stochastic_depth: rate of the last block.
      remat: compute each block again for the gradient.
    """
    rates = drop_rates(stochastic_depth, sum(blocks))
    for index, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        first = sum(blocks[:index])
        stage = _Stage(
            features=width,
            stride=1 if index == 0 else 2,
            rates=rates[first : first + count],
            style=style,
            remat=remat,
            name=f"stages_{index}",
        )
        x = stage(x, train)
    return x


class _Stage(nn.Module):
    """Blocks at one resolution; the first strides."""

    features: int
    stride: int
    rates: tuple[float, ...]
    style: Style
    remat: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        block: Any = _Block if self.style.version == 1 else _PreActivationBlock
        if self.remat:
            block = nn.remat(block, static_argnums=(2,))
        for index, rate in enumerate(self.rates):
            stride = self.stride if index == 0 else 1
            x = block(self.features, stride, rate, self.style, name=f"blocks_{index}")(x, train)
        return x


class _Block(nn.Module):
    """Version 1: normalisation and activation behind convolutions and behind the sum."""

    features: int
    stride: int
    rate: float
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        style, y = self.style, x
        layers = style.layers(self.features, self.stride)
        for number, (features, size, stride) in enumerate(layers, 1):
            last = number == len(layers)
            y = style.conv(features, size, style.stride(stride), f"conv_{number}")(y)
            y = style.norm(train, f"norm_{number}", zero=last and style.zero_init)(y)
            y = style.blurred(y if last else nn.relu(y), stride)
        shortcut = x
        if self.stride > 1 or x.shape[-1] != y.shape[-1]:
            shortcut, stride = style.blurred(x, self.stride), style.stride(self.stride)
            shortcut = style.conv(y.shape[-1], 1, stride, "shortcut_conv")(shortcut)
            shortcut = style.norm(train, "shortcut_norm")(shortcut)
        return nn.relu(shortcut + drop_branch(y, self.rate, train=train))


class _PreActivationBlock(nn.Module):
    """Version 2: normalisation and activation before convolutions, and nothing behind the sum."""

    features: int
    stride: int
    rate: float
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        style, y, shortcut = self.style, x, x
        layers = style.layers(self.features, self.stride)
        outputs, previous_stride = layers[-1][0], 1
        for number, (features, size, stride) in enumerate(layers, 1):
            last = number == len(layers)
            y = nn.relu(style.norm(train, f"norm_{number}")(y))
            if number == 1 and (self.stride > 1 or x.shape[-1] != outputs):
                shortcut, shortcut_stride = style.blurred(y, self.stride), style.stride(self.stride)
                shortcut = style.conv(outputs, 1, shortcut_stride, "shortcut_conv")(shortcut)
            y = style.blurred(y, previous_stride)
            if last:
                y = nn.Dropout(style.dropout, deterministic=not train)(y)
            zero = last and style.zero_init
            y = style.conv(features, size, style.stride(stride), f"conv_{number}", zero)(y)
            previous_stride = stride
        return shortcut + drop_branch(y, self.rate, train=train)
