"""ConvNeXt: a convolutional network after the manner of a transformer."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice, check_images, check_outputs, check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.stochastic_depth import drop_branch, drop_rates

Size = Literal["tiny", "small", "base", "large"]
# Blocks and channels of each stage (section 3).
SIZES = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
}
EPSILON = 1e-6
START = nn.initializers.truncated_normal(0.02)


class ConvNeXt(nn.Module):
    """ConvNeXt of four sizes, or of any blocks and channels (Liu et al. 2022, arXiv:2201.03545).

    Equal to torchvision's to the parameter. These are `stem_conv`, `stem_norm`,
    `stages_1/downsample_norm`, `stages_1/downsample_conv`, `stages_1/blocks_0/depthwise`,
    `.../norm`, `.../expand`, `.../project`, `.../layer_scale`, `final_norm` and `head`.

    Attributes:
      num_outputs: size of the last layer; None returns the features before it.
      size: `tiny`, `small`, `base` or `large`.
      blocks: of each stage, where not those of `size`.
      widths: channels of each stage, where not those of `size`.
      patch_size: height and width of the patches that the stem makes vectors of; 1 or 2 for small
        images.
      kernel_size: of the convolutions by channel.
      layer_scale: start of the factor on each channel of a residual branch.
      stochastic_depth: share of examples for which the last block is left out in training; falls
        linearly to 0 at the first. Published: 0.1, 0.4, 0.5, 0.5 by size.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    size: Size = "tiny"
    blocks: tuple[int, ...] | None = None
    widths: tuple[int, ...] | None = None
    patch_size: int = 4
    kernel_size: int = 7
    layer_scale: float = 1e-6
    stochastic_depth: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_choice("size", self.size, Size)
        blocks, widths = self._plan()
        check_sizes(
            blocks=blocks, widths=widths, patch_size=self.patch_size, kernel_size=self.kernel_size
        )
        if not blocks or len(blocks) != len(widths):
            raise UserError(
                f"blocks={blocks} and widths={widths}: both need one value for each stage"
            )
        if self.kernel_size % 2 == 0:
            raise UserError(f"kernel_size={self.kernel_size}: must be odd, to have a centre")
        check_shares(stochastic_depth=self.stochastic_depth)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32."""
        blocks, widths = self._plan()
        check_images(images, "convnext", self.patch_size * 2 ** (len(blocks) - 1))
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        rates = drop_rates(self.stochastic_depth, sum(blocks))
        x = images.astype(self.dtype)
        x = _patches(widths[0], self.patch_size, "stem_conv", types)(x)
        x = nn.LayerNorm(epsilon=EPSILON, name="stem_norm", **types)(x)
        for index, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            first = sum(blocks[:index])
            stage = _Stage(
                features=width,
                halve=index > 0,
                rates=rates[first : first + count],
                kernel_size=self.kernel_size,
                layer_scale=self.layer_scale,
                remat=self.remat,
                name=f"stages_{index}",
                **types,
            )
            x = stage(x, train)
        x = x.mean((1, 2), dtype=jnp.float32)
        x = nn.LayerNorm(
            epsilon=EPSILON, dtype=jnp.float32, param_dtype=self.param_dtype, name="final_norm"
        )(x)
        if self.num_outputs is None:
            return x
        return nn.Dense(
            self.num_outputs,
            kernel_init=START,
            dtype=jnp.float32,
            param_dtype=self.param_dtype,
            name="head",
        )(x)

    @nn.nowrap
    def _plan(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        blocks, widths = SIZES[self.size]
        return (
            blocks if self.blocks is None else self.blocks,
            widths if self.widths is None else self.widths,
        )


def _patches(features: int, size: int, name: str, types: dict[str, Any]) -> nn.Conv:
    """A vector for each square; what is left over at the end of a row or column is left out."""
    return nn.Conv(
        features, (size, size), size, padding="VALID", kernel_init=START, name=name, **types
    )


class _Stage(nn.Module):
    """Blocks at one resolution, half that of the stage before."""

    features: int
    halve: bool
    rates: tuple[float, ...]
    kernel_size: int
    layer_scale: float
    remat: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.halve:
            x = nn.LayerNorm(epsilon=EPSILON, name="downsample_norm", **types)(x)
            x = _patches(self.features, 2, "downsample_conv", types)(x)
        block: Any = nn.remat(_Block, static_argnums=(2,)) if self.remat else _Block
        for index, rate in enumerate(self.rates):
            made = block(self.kernel_size, self.layer_scale, rate, name=f"blocks_{index}", **types)
            x = made(x, train)
        return x


class _Block(nn.Module):
    """A convolution by channel, then two dense layers at each position (figure 4)."""

    kernel_size: int
    layer_scale: float
    rate: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        features, size = x.shape[-1], self.kernel_size
        y = nn.Conv(
            features,
            (size, size),
            padding=size // 2,
            feature_group_count=features,
            kernel_init=START,
            name="depthwise",
            **types,
        )(x)
        y = nn.LayerNorm(epsilon=EPSILON, name="norm", **types)(y)
        y = nn.Dense(4 * features, kernel_init=START, name="expand", **types)(y)
        y = nn.gelu(y, approximate=False)
        y = nn.Dense(features, kernel_init=START, name="project", **types)(y)
        start = nn.initializers.constant(self.layer_scale)
        scale = self.param("layer_scale", start, (features,), self.param_dtype)
        return x + drop_branch(y * scale.astype(self.dtype), self.rate, train=train)
