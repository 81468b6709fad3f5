"""SNGAN's residual generator and discriminator, with the self-attention of SAGAN as an option.

Miyato et al. 2018, arXiv:1802.05957; Miyato and Koyama 2018, arXiv:1802.05637; Zhang et al. 2019,
arXiv:1805.08318.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.gan.blocks import Row, discriminator_row, generator_row
from dlresearch.models.gan.heads import logits, pixels, small_image
from dlresearch.models.gan.inputs import (
    check_attention,
    check_classes,
    check_label,
    check_latent,
    check_square,
    doublings,
)
from dlresearch.models.gan.layers import Style
from dlresearch.models.layers import check_sizes, check_types

SMALL = 32
"""Up to this size all blocks have the same width, as in the networks for CIFAR-10."""


class ResNetGenerator(nn.Module):
    """A latent, as an image of 4 to 7 pixels, doubled by residual blocks until it has its size.

    With labels, batch norm in the blocks has a scale and a bias for each class. Parameters are
    `project`, `blocks_0/norm_1`, `blocks_0/conv_1` (`norm_2`, `conv_2`, `shortcut`),
    `attention_16`, `final_norm` and `to_pixels`.

    Attributes:
      size: height and width of the images: 4, 5, 6 or 7 doubled some times.
      channels: of the images.
      num_classes: of the labels; 0 without.
      widths: channels at each resolution, from the lowest to the full one. Empty: 256 up to 32
        pixels (arXiv:1802.05957, table 4); above, 64 at the full size and twice as many at each one
        below, at most 1024, as published for 48 and 128 pixels.
      attention: sides of images behind blocks that are followed by self-attention, such as `(32,)`.
      spectral: spectral norm on every kernel, as in SAGAN.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    size: int
    channels: int
    num_classes: int = 0
    widths: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()
    spectral: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(channels=self.channels, widths=self.widths)
        check_classes(self.num_classes)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        start, count = doublings(self.size, "resnet_generator")
        if len(self.widths) not in (0, count + 1):
            raise UserError(
                f"widths={self.widths}: resnet_generator doubles {count} times up to size="
                f"{self.size}, so it needs {count + 1} widths"
            )
        sides = [start * 2**k for k in range(1, count + 1)]
        check_attention(self.attention, sides, "resnet_generator")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        latent: Float[Array, "batch latent"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch size size channels"]:
        """Images in [-1, 1], in float32. Raises UserError for a missing or unexpected label."""
        check_latent(latent, "resnet_generator")
        check_label(label, self.num_classes, "resnet_generator")
        start, count = doublings(self.size, "resnet_generator")
        widths = self.widths or _generator_widths(self.size, count)
        style = _style(self.dtype, self.param_dtype, self.spectral)
        row = Row(widths[1:], self.attention, self.remat, style)
        x = small_image(style, latent, start, widths[0], train=train)
        x = generator_row(row, x, [label] * count, self.num_classes, train=train)
        return pixels(style, x, self.channels, train=train)


class ResNetDiscriminator(nn.Module):
    """Residual blocks, of which the first halve the image, the sum over positions, a linear layer.

    With labels, the logit has the projection on a vector for each class. Parameters are
    `blocks_0/conv_1` (`conv_2`, `shortcut`), `attention_16`, `head` and `projection/embedding`.

    Attributes:
      num_classes: of the labels; 0 without.
      widths: channels of the blocks that halve. Empty: twice 128 up to 32 pixels
        (arXiv:1802.05957, table 4); above, 64, 128 and so on, at most 1024, as long as 3 pixels are
        left, as published for 48 and 128 pixels.
      last_widths: channels of the blocks behind them. Empty: twice 128 up to 32 pixels, above one
        of twice the channels before it, at most 1024.
      attention: sides of images behind blocks that are followed by self-attention, such as `(16,)`.
      spectral: spectral norm on every kernel; the last layer has it, too.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_classes: int = 0
    widths: tuple[int, ...] = ()
    last_widths: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()
    spectral: bool = True
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(widths=self.widths, last_widths=self.last_widths)
        check_classes(self.num_classes)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, " batch"]:
        """Logits in float32. Raises UserError for images it cannot halve, and labels as above."""
        check_square(images, "resnet_discriminator", len(self.widths))
        check_label(label, self.num_classes, "resnet_discriminator")
        size = images.shape[1]
        widths = self.widths or _discriminator_widths(size)
        check_square(images, "resnet_discriminator", len(widths))
        sides = [size // 2**k for k in range(1, len(widths) + 1)]
        check_attention(self.attention, sides, "resnet_discriminator")
        last = (128, 128) if size <= SMALL else (min(2 * widths[-1], 1024),)
        style = _style(self.dtype, self.param_dtype, self.spectral)
        row = Row((*widths, *(self.last_widths or last)), self.attention, self.remat, style)
        x = discriminator_row(row, images.astype(self.dtype), len(widths), train=train)
        features = nn.relu(x).sum((1, 2), dtype=jnp.float32)
        return logits(style, features, label, self.num_classes, train=train)


def _generator_widths(size: int, count: int) -> tuple[int, ...]:
    if size <= SMALL:
        return (256,) * (count + 1)
    return tuple(min(64 * 2**k, 1024) for k in reversed(range(count + 1)))


def _discriminator_widths(size: int) -> tuple[int, ...]:
    if size <= SMALL:
        return (128, 128)
    count = 0
    while size % 2 == 0 and size // 2 >= 3:
        size, count = size // 2, count + 1
    return tuple(min(64 * 2**k, 1024) for k in range(max(count, 1)))


def _style(dtype: DTypeLike, param_dtype: DTypeLike, spectral: bool) -> Style:
    # Glorot and Bengio 2010, as in the authors' code (there times sqrt(2) in the blocks).
    return Style(spectral, nn.initializers.glorot_uniform(), dtype, param_dtype)
