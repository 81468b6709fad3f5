"""BigGAN's generator and discriminator (Brock et al. 2019, arXiv:1809.11096)."""

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
from dlresearch.models.layers import check_sizes, check_types, orthogonal

# Channels over `width` at each resolution of the generator, by the number of doublings: 5 and 6 are
# 128 and 256 pixels in tables 4 and 5 of the paper; the small ones are those of PyTorch-StudioGAN.
GENERATOR = {
    1: (4, 4),
    2: (4, 4, 4),
    3: (4, 4, 4, 4),
    4: (16, 8, 4, 2, 1),
    5: (16, 16, 8, 4, 2, 1),
    6: (16, 16, 8, 8, 4, 2, 1),
}
# Channels over `width` of the discriminator's blocks: those that halve, and those behind them.
DISCRIMINATOR = {
    1: ((2,), (2, 2)),
    2: ((2, 2), (2, 2)),
    3: ((2, 2), (2, 2)),
    4: ((1, 2, 4, 8), (16,)),
    5: ((1, 2, 4, 8, 16), (16,)),
    6: ((1, 2, 4, 8, 8, 16), (16,)),
}


class BigGANGenerator(nn.Module):
    """Residual blocks, each with a part of the latent and the class in its batch norm.

    The latent is cut into one chunk for the first layer and one for each block; a block's batch
    norm reads its chunk joined with a vector for the class that all blocks share. Spectral norm on
    every kernel, orthogonal initialisation. Parameters are `classes/embedding`, `project`,
    `blocks_0/norm_1/scale` (`bias`), `blocks_0/conv_1` (`norm_2`, `conv_2`, `shortcut`),
    `attention_64`, `final_norm` and `to_pixels`. At 128 pixels, 1,000 classes and a latent of 120
    it has the 70,433,988 parameters of the published one.

    Attributes:
      size: height and width of the images: 4, 5, 6 or 7 doubled 1 to 6 times, such as 32, 64, 128.
      channels: of the images.
      num_classes: of the labels; 0 without.
      width: channels, times 1 to 16 by resolution: 96 published.
      embedding: length of the shared vector for a class.
      attention: sides of images behind blocks that are followed by self-attention: `(64,)` in the
        published network for 128 pixels.
      spectral: spectral norm on every kernel.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    size: int
    channels: int
    num_classes: int = 0
    width: int = 96
    embedding: int = 128
    attention: tuple[int, ...] = ()
    spectral: bool = True
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(channels=self.channels, width=self.width, embedding=self.embedding)
        check_classes(self.num_classes)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        start, count = _doublings(self.size, "biggan_generator")
        sides = [start * 2**k for k in range(1, count + 1)]
        check_attention(self.attention, sides, "biggan_generator")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        latent: Float[Array, "batch latent"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch size size channels"]:
        """Images in [-1, 1], in float32.

        Raises UserError for a missing or unexpected label and for a latent that does not divide.
        """
        check_latent(latent, "biggan_generator")
        check_label(label, self.num_classes, "biggan_generator")
        start, count = _doublings(self.size, "biggan_generator")
        chunk, rest = divmod(latent.shape[-1], count + 1)
        if rest or not chunk:
            raise UserError(
                f"a latent of {latent.shape[-1]}: biggan_generator cuts it into {count + 1} equal"
                f" chunks at size={self.size}; use {max(chunk, 1) * (count + 1)}"
            )
        widths = [self.width * multiple for multiple in GENERATOR[count]]
        style = _style(self.dtype, self.param_dtype, self.spectral)
        first, *conditions = jnp.split(latent, count + 1, axis=-1)
        if label is not None:
            # As wide as the latent's own values, so that neither hides the other.
            classes = nn.Embed(
                self.num_classes,
                self.embedding,
                embedding_init=nn.initializers.normal(1.0),
                param_dtype=self.param_dtype,
                name="classes",
            )(label)
            conditions = [jnp.concatenate([classes, each], axis=-1) for each in conditions]
        row = Row(widths[1:], self.attention, self.remat, style)
        x = small_image(style, first, start, widths[0], train=train)
        x = generator_row(row, x, conditions, self.num_classes, train=train)
        return pixels(style, x, self.channels, train=train)


class BigGANDiscriminator(nn.Module):
    """Residual blocks, of which the first halve the image, the sum over positions, a linear layer.

    With labels, the logit has the projection on a vector for each class. Parameters are those of
    `resnet_discriminator`. At 128 pixels and 1,000 classes it has the 87,982,370 parameters of the
    published one.

    Attributes:
      num_classes: of the labels; 0 without.
      width: channels, times 1 to 16 by resolution: 96 published.
      attention: sides of images behind blocks that are followed by self-attention: `(64,)` in the
        published network for 128 pixels.
      spectral: spectral norm on every kernel.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_classes: int = 0
    width: int = 96
    attention: tuple[int, ...] = ()
    spectral: bool = True
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(width=self.width)
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
        """Logits in float32. Raises UserError for images of another size, and labels as above."""
        check_square(images, "biggan_discriminator", 0)
        check_label(label, self.num_classes, "biggan_discriminator")
        size = images.shape[1]
        halving, last = DISCRIMINATOR[_doublings(size, "biggan_discriminator")[1]]
        sides = [size // 2**k for k in range(1, len(halving) + 1)]
        check_attention(self.attention, sides, "biggan_discriminator")
        style = _style(self.dtype, self.param_dtype, self.spectral)
        widths = [self.width * multiple for multiple in (*halving, *last)]
        row = Row(widths, self.attention, self.remat, style)
        x = discriminator_row(row, images.astype(self.dtype), len(halving), train=train)
        features = nn.relu(x).sum((1, 2), dtype=jnp.float32)
        return logits(style, features, label, self.num_classes, train=train)


def _doublings(size: int, model: str) -> tuple[int, int]:
    start, count = doublings(size, model)
    if count > max(GENERATOR):
        raise UserError(f"size={size}: {model} is published up to 256 pixels; use stylegan2 above")
    return start, count


def _style(dtype: DTypeLike, param_dtype: DTypeLike, spectral: bool) -> Style:
    return Style(spectral, orthogonal, dtype, param_dtype)  # section 3 of the paper
