"""The Vision Transformer: an image as a sequence of patches."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice, check_images, check_outputs, check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.positions import LearnedPositions, sincos_2d
from dlresearch.models.stochastic_depth import drop_branch, drop_rates

Size = Literal["tiny", "small", "base", "large"]
# Width, depth and heads (Touvron et al. 2021, arXiv:2012.12877, table 1, and, `large`, Dosovitskiy
# et al. 2021, arXiv:2010.11929, table 1).
SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
Pool = Literal["token", "mean"]
Positions = Literal["learned", "sincos"]
EPSILON = 1e-6


class ViT(nn.Module):
    """A transformer encoder over patches (Dosovitskiy et al. 2021, arXiv:2010.11929).

    With class token and learned positions equal to timm's to the parameter; with `pool="mean"` and
    `positions="sincos"` the plainer one of Beyer et al. 2022, arXiv:2205.01580. Parameters are
    `patches`, `class_token`, `registers`, `positions/bias`, `blocks_0/norm_1`,
    `blocks_0/attention/query` (`key`, `value`, `out`), `blocks_0/norm_2`, `blocks_0/expand`,
    `blocks_0/project`, `final_norm` and `head`. The class token is the first of the sequence and
    has a position, registers are the last and have none.

    Attributes:
      num_outputs: size of the last layer; None returns the features before it.
      size: `tiny`, `small`, `base` or `large`.
      width: features of a token, where not those of `size`.
      depth: blocks, where not those of `size`.
      heads: of the attention, where not those of `size`.
      mlp_ratio: width of the hidden layer in a block for one of `width`.
      patch_size: height and width of a patch, which divide the image's.
      pool: `token` reads the class token, `mean` averages over patches and has no class token.
      positions: `learned` fixes the image size, `sincos` is computed.
      registers: tokens that stand for no patch and are not read (Darcet et al. 2023,
        arXiv:2309.16588).
      stochastic_depth: share of examples for which each half of the last block is left out in
        training; falls linearly to 0 at the first.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; softmax and the last layer always compute in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    size: Size = "small"
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_ratio: float = 4.0
    patch_size: int = 16
    pool: Pool = "token"
    positions: Positions = "learned"
    registers: int = 0
    stochastic_depth: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_choice("size", self.size, Size)
        check_choice("pool", self.pool, Pool)
        check_choice("positions", self.positions, Positions)
        width, depth, heads = self._plan()
        check_sizes(width=width, depth=depth, heads=heads, patch_size=self.patch_size)
        if width % heads:
            raise UserError(f"width={width} does not divide into heads={heads}")
        if self.positions == "sincos" and width % 4:
            raise UserError(f"width={width}: must divide by 4 for positions='sincos'")
        if round(width * self.mlp_ratio) < 1:
            raise UserError(f"mlp_ratio={self.mlp_ratio}: leaves no hidden unit")
        if self.registers < 0:
            raise UserError(f"registers={self.registers}: must be at least 0")
        check_shares(stochastic_depth=self.stochastic_depth)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32."""
        check_images(images, "vit")
        if images.shape[1] % self.patch_size or images.shape[2] % self.patch_size:
            raise UserError(
                f"images of {images.shape[1]}x{images.shape[2]} do not divide into patches of"
                f" {self.patch_size}x{self.patch_size}; resize them, or give vit another patch_size"
            )
        width, depth, heads = self._plan()
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.Conv(
            width,
            (self.patch_size,) * 2,
            self.patch_size,
            padding="VALID",
            name="patches",
            **types,
        )(images.astype(self.dtype))
        batch, rows, columns, _ = x.shape
        x = x.reshape(batch, rows * columns, width)
        if self.positions == "sincos":
            x = x + sincos_2d(rows, columns, width).astype(self.dtype)
        if self.pool == "token":
            x = jnp.concatenate([self._tokens("class_token", 1, batch, width), x], axis=1)
        if self.positions == "learned":
            x = LearnedPositions(name="positions", **types)(x)
        if self.registers:
            registers = self._tokens("registers", self.registers, batch, width)
            x = jnp.concatenate([x, registers], axis=1)
        block: Any = nn.remat(_Block, static_argnums=(2,)) if self.remat else _Block
        hidden = round(width * self.mlp_ratio)
        for index, rate in enumerate(drop_rates(self.stochastic_depth, depth)):
            x = block(heads, hidden, rate, name=f"blocks_{index}", **types)(x, train)
        read = x[:, :1] if self.pool == "token" else x[:, : rows * columns]
        x = nn.LayerNorm(
            epsilon=EPSILON, dtype=jnp.float32, param_dtype=self.param_dtype, name="final_norm"
        )(read).mean(1)
        if self.num_outputs is None:
            return x
        return nn.Dense(
            self.num_outputs,
            kernel_init=nn.initializers.truncated_normal(0.02),
            dtype=jnp.float32,
            param_dtype=self.param_dtype,
            name="head",
        )(x)

    @nn.nowrap
    def _plan(self) -> tuple[int, int, int]:
        width, depth, heads = SIZES[self.size]
        return (
            width if self.width is None else self.width,
            depth if self.depth is None else self.depth,
            heads if self.heads is None else self.heads,
        )

    @nn.nowrap
    def _tokens(self, name: str, count: int, batch: int, width: int) -> Array:
        """Learned tokens, the same for every example."""
        start = nn.initializers.normal(1e-6)  # as timm starts them
        tokens = self.param(name, start, (1, count, width), self.param_dtype)
        return jnp.broadcast_to(tokens.astype(self.dtype), (batch, count, width))


class _Block(nn.Module):
    """Attention over all tokens, then two dense layers at each, with the normalisation in front."""

    heads: int
    hidden: int
    rate: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        # Xavier, as in the code of Dosovitskiy et al.; the paper does not say.
        dense: dict[str, Any] = {"kernel_init": nn.initializers.xavier_uniform(), **types}
        y = nn.LayerNorm(epsilon=EPSILON, name="norm_1", **types)(x)
        y = nn.MultiHeadDotProductAttention(
            self.heads,
            attention_fn=jax.nn.dot_product_attention,  # its softmax is in float32
            name="attention",
            **dense,
        )(y)
        x = x + drop_branch(y, self.rate, train=train)
        y = nn.LayerNorm(epsilon=EPSILON, name="norm_2", **types)(x)
        y = nn.Dense(self.hidden, name="expand", **dense)(y)
        y = nn.Dense(x.shape[-1], name="project", **dense)(nn.gelu(y, approximate=False))
        return x + drop_branch(y, self.rate, train=train)
