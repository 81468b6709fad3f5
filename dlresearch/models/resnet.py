"""Residual networks: ResNet with activations behind (1.5) or before (2) convolutions, Wide ResNet.

Parameters and padding are those of the implementations in PyTorch, so that published weights fit.
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from dlresearch.errors import UserError
from dlresearch.models.blur_pool import blur_pool
from dlresearch.models.checks import check_choice, check_images, check_outputs, check_shares
from dlresearch.models.cpu import max_pool_3x3
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.residual import Style, Version, residual_stages

Depth = Literal[18, 34, 50, 101, 152]
Stem = Literal["imagenet", "cifar"]
# Blocks of each stage (He et al. 2016, arXiv:1512.03385, table 1).
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class ResNet(nn.Module):
    """ResNet of 18 to 152 layers (He et al. 2016, arXiv:1512.03385 and, version 2, 1603.05027).

    Version 1 is the one known as 1.5: a bottleneck block strides in its 3x3 convolution. Version 2
    has normalisation and activation before convolutions, and none behind the stem's. Parameters are
    `stem_conv`, `stem_norm`, `stages_0/blocks_1/conv_2`, `.../norm_2`, `.../shortcut_conv`,
    `.../shortcut_norm`, `final_norm` and `head`; stages and blocks count from 0, layers of a block
    from 1.

    Attributes:
      num_outputs: size of the last layer; None returns the features before it.
      depth: layers with weights; from 50 on blocks are bottlenecks.
      blocks: of each stage, where not those of `depth`: with `depth=18`, `stem="cifar"`, `width=16`
        and `blocks=(3, 3, 3)` it is the ResNet-20 for CIFAR-10, but for projections where its
        shortcuts change width.
      version: 1 or 2.
      stem: `imagenet` divides the image size by 4 at the start; `cifar`, for small images, does
        not.
      width: channels of the first stage; each later stage has twice those of the one before.
      blur_pool: blur before every down-sampling (Zhang 2019, arXiv:1904.11486).
      stochastic_depth: share of examples for which the last block is left out in training; falls
        linearly to 0 at the first (Huang et al. 2016, arXiv:1603.09382).
      zero_init_residual: every block starts as the identity: the scale of its last normalisation,
        in version 2 the kernel of its last convolution, is 0 (Goyal et al. 2017, arXiv:1706.02677,
        section 5.1).
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    depth: Depth = 50
    blocks: tuple[int, ...] | None = None
    version: Version = 1
    stem: Stem = "imagenet"
    width: int = 64
    blur_pool: bool = False
    stochastic_depth: float = 0.0
    zero_init_residual: bool = True
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_choice("depth", self.depth, Depth)
        check_choice("version", self.version, Version)
        check_choice("stem", self.stem, Stem)
        check_sizes(width=self.width, blocks=() if self.blocks is None else self.blocks)
        if self.blocks == ():
            raise UserError("blocks=(): needs one value for each stage")
        check_shares(stochastic_depth=self.stochastic_depth)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32."""
        check_images(images, "resnet")
        style = Style(
            version=self.version,
            bottleneck=self.depth >= 50,
            blur=self.blur_pool,
            zero_init=self.zero_init_residual,
            dropout=0.0,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        large = self.stem == "imagenet"
        x = images.astype(self.dtype)
        size, stride = (7, 2) if large else (3, 1)
        x = style.conv(self.width, size, stride, "stem_conv")(x)
        if self.version == 1:
            x = nn.relu(style.norm(train, "stem_norm")(x))
        if large:
            x = max_pool_3x3(x, 1 if self.blur_pool else 2)
            x = blur_pool(x) if self.blur_pool else x
        blocks = BLOCKS[self.depth] if self.blocks is None else self.blocks
        widths = [self.width * 2**stage for stage in range(len(blocks))]
        x = residual_stages(x, train, blocks, widths, style, self.stochastic_depth, self.remat)
        if self.version == 2:
            x = nn.relu(style.norm(train, "final_norm")(x))
        return _outputs(x, self.num_outputs, self.param_dtype)


class WideResNet(nn.Module):
    """WRN-d-k for small images (Zagoruyko and Komodakis 2016, arXiv:1605.07146).

    Three stages of (d - 4) / 6 blocks of two 3x3 convolutions, with 16k, 32k and 64k channels and
    activations before convolutions. Parameters have the names of `ResNet`'s.

    Attributes:
      num_outputs: size of the last layer; None returns the features before it.
      depth: d, which is 6n + 4 for a whole n.
      widen: k.
      dropout: share of units set to zero in training, between the convolutions of a block.
      stochastic_depth: as for `ResNet`.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    depth: int = 28
    widen: int = 10
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_sizes(widen=self.widen)
        check_shares(dropout=self.dropout)
        check_shares(stochastic_depth=self.stochastic_depth)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        if self.depth < 10 or (self.depth - 4) % 6:
            raise UserError(f"depth={self.depth}: must be 6n + 4, such as 10, 16, 22, 28, 34 or 40")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32."""
        check_images(images, "wide_resnet")
        style = Style(
            version=2,
            bottleneck=False,
            blur=False,
            zero_init=False,
            dropout=self.dropout,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        x = style.conv(16, 3, 1, "stem_conv")(images.astype(self.dtype))
        blocks = [(self.depth - 4) // 6] * 3
        widths = [16 * self.widen, 32 * self.widen, 64 * self.widen]
        x = residual_stages(x, train, blocks, widths, style, self.stochastic_depth, self.remat)
        x = nn.relu(style.norm(train, "final_norm")(x))
        return _outputs(x, self.num_outputs, self.param_dtype)


def _outputs(x: Array, num_outputs: int | None, param_dtype: DTypeLike) -> Array:
    """The mean over positions, and the last layer if there is one, inside a compact module."""
    features = x.mean((1, 2), dtype=jnp.float32)
    if num_outputs is None:
        return features
    start = nn.initializers.normal(0.01)  # Goyal et al. 2017, arXiv:1706.02677, section 5.1
    return nn.Dense(
        num_outputs, kernel_init=start, dtype=jnp.float32, param_dtype=param_dtype, name="head"
    )(features)
