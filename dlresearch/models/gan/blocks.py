"""Residual blocks of generators and discriminators, and rows of them with attention.

Miyato et al. 2018, arXiv:1802.05957, appendix B.4; Brock et al. 2019, arXiv:1809.11096, figures
15 and 16. A convolution and the resizing next to it are computed as one, which changes no result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from dlresearch.models.gan.attention import SelfAttention
from dlresearch.models.gan.conditional_norm import Condition, ConditionalBatchNorm
from dlresearch.models.gan.layers import Style, doubled, halved


@dataclass(frozen=True)
class Row:
    """Residual blocks one after the other.

    Attributes:
      widths: channels behind each block.
      attention: sides of images behind blocks that are followed by self-attention.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      style: of the layers.
    """

    widths: Sequence[int]
    attention: tuple[int, ...]
    remat: bool
    style: Style


class GeneratorBlock(nn.Module):
    """(Norm, ReLU, doubling, convolution, norm, ReLU, convolution) plus the doubled input."""

    features: int
    num_classes: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, condition: Condition, train: bool) -> Array:
        style = self.style

        def norm(name: str, y: Array) -> Array:
            layer = ConditionalBatchNorm(style, self.num_classes, name=name)
            return nn.relu(layer(y, condition, train=train))

        y = style.conv(self.features, "conv_1", resize="double")(norm("norm_1", x), train=train)
        y = style.conv(self.features, "conv_2")(norm("norm_2", y), train=train)
        # Pixels are doubled behind the 1x1 convolution: the same, for a quarter of the products.
        return y + doubled(style.conv(self.features, "shortcut", size=1)(x, train=train))


class DiscriminatorBlock(nn.Module):
    """(ReLU, convolution, ReLU, convolution, mean over 2x2) plus the input made as large.

    Attributes:
      features: channels of the result.
      halves: whether there is that mean.
      first: no ReLU at the start, as the block reads images.
      style: of the layers.
    """

    features: int
    halves: bool
    first: bool
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        style, resize = self.style, "halve" if self.halves else "keep"
        y = style.conv(self.features, "conv_1")(x if self.first else nn.relu(x), train=train)
        y = style.conv(self.features, "conv_2", resize=resize)(nn.relu(y), train=train)
        shortcut = halved(x) if self.halves else x
        if self.halves or x.shape[-1] != self.features:
            shortcut = style.conv(self.features, "shortcut", size=1)(shortcut, train=train)
        return y + shortcut


def generator_row(
    row: Row,
    x: Float[Array, "batch height width channels"],
    conditions: Sequence[Condition],
    num_classes: int,
    *,
    train: bool,
) -> Float[Array, "batch height_out width_out channels_out"]:
    """All blocks of a generator, inside a compact module, each with its condition."""
    block: Any = _rematerialised(GeneratorBlock, row, 3)
    for index, (width, condition) in enumerate(zip(row.widths, conditions, strict=True)):
        x = block(width, num_classes, row.style, name=f"blocks_{index}")(x, condition, train)
        x = _attended(row, x, train)
    return x


def discriminator_row(
    row: Row,
    images: Float[Array, "batch height width channels"],
    halvings: int,
    *,
    train: bool,
) -> Float[Array, "batch height_out width_out channels_out"]:
    """All blocks of a discriminator, inside a compact module; the first `halvings` halve."""
    block: Any = _rematerialised(DiscriminatorBlock, row, 2)
    x = images
    for index, width in enumerate(row.widths):
        halves, first = index < halvings, index == 0
        x = block(width, halves, first, row.style, name=f"blocks_{index}")(x, train)
        # Blocks that halve nothing have the side of the one before, which has had its attention.
        x = _attended(row, x, train) if halves else x
    return x


def _rematerialised(block: Any, row: Row, train: int) -> Any:
    """`train` is the position of the flag of that name; 0 is the module itself."""
    return nn.remat(block, static_argnums=(train,)) if row.remat else block


def _attended(row: Row, x: Array, train: bool) -> Array:
    side = x.shape[1]
    if side not in row.attention:
        return x
    return SelfAttention(row.style, name=f"attention_{side}")(x, train=train)
