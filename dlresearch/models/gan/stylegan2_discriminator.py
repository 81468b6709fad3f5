"""The discriminator of StyleGAN2."""

from math import sqrt
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice, check_images
from dlresearch.models.gan.inputs import check_classes, check_label
from dlresearch.models.gan.stylegan2_layers import (
    EqualisedConv,
    EqualisedDense,
    activate,
    channels_at,
    check_size,
)
from dlresearch.models.gan.stylegan2_mapping import Mapping
from dlresearch.models.gan.stylegan2_resampling import downsample
from dlresearch.models.layers import check_sizes, check_types

Architecture = Literal["residual", "skip", "plain"]


def minibatch_deviation(
    features: Float[Array, "batch height width channels"], group_size: int
) -> Float[Array, "batch height width channels+1"]:
    """The features, and one more: how much they differ among the examples of a group.

    The standard deviation over the group, averaged over positions and channels, in float32, is the
    same at all positions of all its examples (Karras et al. 2018, arXiv:1710.10196, section 3).
    With n groups, row r of the batch is in group r mod n, as in the published code; which rows are
    together does not depend on how the batch is split over devices. A batch that is smaller than a
    group is one group.

    Raises:
      UserError: groups do not divide the batch.
    """
    batch, height, width, channels = features.shape
    size = min(group_size, batch)
    if batch % size:
        fitting = max(each for each in range(1, size) if batch % each == 0)
        raise UserError(
            f"group_size={size}: a batch of {batch} is no whole number of groups for the minibatch"
            f" standard deviation; set the discriminator's group_size={fitting}"
        )
    grouped = features.astype(jnp.float32).reshape(size, -1, height, width, channels)
    variance = jnp.square(grouped - grouped.mean(axis=0)).mean(axis=0)
    deviation = jnp.sqrt(variance + 1e-8).mean(axis=(1, 2, 3))
    column = jnp.tile(deviation, size)[:, None, None, None]
    column = jnp.broadcast_to(column, (batch, height, width, 1)).astype(features.dtype)
    return jnp.concatenate([features, column], axis=-1)


class StyleGAN2Discriminator(nn.Module):
    """StyleGAN2's discriminator (Karras et al. 2020, arXiv:1912.04958).

    The defaults are the paper's configuration F. That for CIFAR-10 (Karras et al. 2020,
    arXiv:2006.06676, appendix D.1) has `architecture="plain"` and `group_size=32`. With classes the
    logit is the product of features with a mapping of the label, divided by the root of their
    number (projection: Miyato and Koyama 2018, arXiv:1802.05637).

    Attributes:
      size: pixels a side: a power of two from 8 to 1024.
      channels: of the images.
      num_classes: 0 for an unconditional discriminator.
      architecture: `residual` has shortcuts around pairs of convolutions; `skip` adds the image to
        the features of each resolution; `plain` does neither.
      mapping_layers: dense layers of the mapping of the label.
      channel_base: layers of r x r pixels have `channel_base / r` channels, if these are not more
        than `channel_max`.
      channel_max: see there.
      group_size: examples of a group of the minibatch standard deviation; divides the batch.
      float32_below: layers with fewer pixels a side compute in float32, whatever `dtype` is. The
        dense layers always do.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; in float16 activations are cut off at +-256.
      param_dtype: of the parameters.
    """

    size: int = 32
    channels: int = 3
    num_classes: int = 0
    architecture: Architecture = "residual"
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    group_size: int = 4
    float32_below: int = 16
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_size(self.size, "stylegan2_discriminator")
        check_classes(self.num_classes)
        check_choice("architecture", self.architecture, Architecture)
        check_sizes(
            channels=self.channels,
            mapping_layers=self.mapping_layers,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
            group_size=self.group_size,
        )
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch size size channels"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, " batch"]:
        """Logits in float32, the same in training and evaluation.

        Raises:
          UserError: images of another size, a missing label, a batch that is no whole number of
            groups.
        """
        check_label(label, self.num_classes, "stylegan2_discriminator")
        check_images(images, "stylegan2_discriminator")
        expected = (self.size, self.size, self.channels)
        if images.shape[1:] != expected:
            raise UserError(
                f"stylegan2_discriminator was made for images {list(expected)}, not"
                f" {list(images.shape[1:])}; set its size and channels"
            )
        block: Any = nn.remat(_Block) if self.remat else _Block
        x: Any = None
        image, resolution = images.astype(jnp.float32), self.size
        while resolution > 4:
            made = block(
                channels_at(resolution, self.channel_base, self.channel_max),
                channels_at(resolution // 2, self.channel_base, self.channel_max),
                self.architecture,
                self.dtype if resolution >= self.float32_below else jnp.float32,
                self.param_dtype,
                name=f"block_{resolution}",
            )
            x, image = made(x, image)
            resolution //= 2
        width = channels_at(4, self.channel_base, self.channel_max)
        types: dict[str, Any] = {"param_dtype": self.param_dtype}
        x = x.astype(jnp.float32)
        if self.architecture == "skip":
            x = x + EqualisedConv(width, 1, name="image", **types)(image)
        x = minibatch_deviation(x, self.group_size)
        x = EqualisedConv(width, name="conv", **types)(x)
        x = EqualisedDense(width, name="dense", **types)(x.reshape(x.shape[0], -1))
        x = activate(x)
        if label is None:
            return EqualisedDense(1, name="logit", **types)(x)[:, 0]
        mapping = Mapping(self.mapping_layers, width, self.num_classes, name="mapping", **types)
        features = EqualisedDense(width, name="logit", **types)(x)
        return (features * mapping(None, label)).sum(axis=-1) / sqrt(width)


class _Block(nn.Module):
    """Two 3x3 convolutions, the second to half the size.

    Attributes:
      features: channels of the first convolution.
      smaller_features: of the second one, and of the shortcut.
      architecture: of the discriminator.
    """

    features: int
    smaller_features: int
    architecture: Architecture
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width features"] | None,
        image: Float[Array, "batch height width channels"],
    ) -> tuple[
        Float[Array, "batch height/2 width/2 smaller_features"],
        Float[Array, "batch h w channels"],
    ]:
        """The features, and the image: also of half the size where the next block needs it.

        Where there are no features yet, they are made of the image by a 1x1 convolution.
        """
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if x is None or self.architecture == "skip":
            seen = EqualisedConv(self.features, 1, name="image", **types)(image)
            x = seen if x is None else x.astype(self.dtype) + seen
        if self.architecture == "skip":
            image = downsample(image)
        gain, shortcut = 1.0, 0.0
        if self.architecture == "residual":
            gain = sqrt(0.5)
            down = EqualisedConv(
                self.smaller_features, 1, True, False, gain, name="shortcut", **types
            )
            shortcut = down(x)
        x = EqualisedConv(self.features, name="conv_1", **types)(x)
        x = EqualisedConv(self.smaller_features, halve=True, gain=gain, name="conv_2", **types)(x)
        return x + shortcut, image
