"""The Vision Transformer: an image as a sequence of patches."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice, check_images, check_outputs, check_shares
from dlresearch.models.encoder_block import EPSILON, EncoderBlock
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.patches import patchify
from dlresearch.models.positions import LearnedPositions, sincos_2d
from dlresearch.models.stochastic_depth import drop_rates

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

    def setup(self) -> None:
        width, depth, heads = self._plan()
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        size = (self.patch_size,) * 2
        self.patches = nn.Conv(width, size, self.patch_size, padding="VALID", **types)
        if self.pool == "token":
            self.class_token = self._tokens("class_token", 1, width)
        if self.positions == "learned":
            # Not `positions`: that is an argument.
            self.learned_positions = LearnedPositions(name="positions", **types)
        if self.registers:
            self.register_tokens = self._tokens("registers", self.registers, width)
        block: Any = nn.remat(EncoderBlock, static_argnums=(2, 3)) if self.remat else EncoderBlock
        hidden = round(width * self.mlp_ratio)
        self.blocks = [
            block(heads, hidden, rate, **types) for rate in drop_rates(self.stochastic_depth, depth)
        ]
        last: dict[str, Any] = {"dtype": jnp.float32, "param_dtype": self.param_dtype}
        self.final_norm = nn.LayerNorm(epsilon=EPSILON, **last)
        if self.num_outputs is not None:
            start = nn.initializers.truncated_normal(0.02)
            self.head = nn.Dense(self.num_outputs, kernel_init=start, **last)

    def __call__(
        self, images: Shaped[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32."""
        x = self._embedded(images)
        read = slice(0, 1 if self.pool == "token" else x.shape[1])
        x = self._with_registers(x)
        for block in self.blocks:
            x = block(x, train, False)
        x = self.final_norm(x[:, read]).mean(1)
        return x if self.num_outputs is None else self.head(x)

    def encode(
        self,
        images: Shaped[Array, "batch height width channels"],
        keep: Int[Array, "batch kept"],
        *,
        train: bool,
    ) -> Float[Array, "batch tokens width"]:
        """Some patches of each image, as if it had no others (He et al. 2021, arXiv:2111.06377).

        Args:
          images: as for `__call__`.
          keep: which patches, counted from 0 row by row.

        Returns:
          float32: the class token, if there is one, and the patches in the order of `keep`, behind
          the last normalisation. Registers take part and are left out here.
        """
        x = self._embedded(images)
        ahead = self._ahead
        kept = jnp.take_along_axis(x[:, ahead:], keep[:, :, None], axis=1)
        x = self._with_registers(jnp.concatenate([x[:, :ahead], kept], axis=1))
        for block in self.blocks:
            x = block(x, train, False)
        return self.final_norm(x[:, : ahead + keep.shape[1]])

    def attention(
        self, images: Shaped[Array, "batch height width channels"]
    ) -> Float[Array, "batch heads rows columns"]:
        """How much each head of the last block looks at each patch, in float32, from 0 to 1.

        The weights with which the class token reads the patches (Caron et al. 2021,
        arXiv:2104.14294, figure 1); with `pool="mean"`, with which patches do, on average. What is
        missing to a sum of 1 goes to the class token and the registers.
        """
        x = self._embedded(images)
        count = x.shape[1]
        x = self._with_registers(x)
        for block in self.blocks[:-1]:
            x = block(x, False, False)
        weights = self.blocks[-1](x, False, True)
        reading = slice(0, 1 if self.pool == "token" else count)
        looks = weights[:, :, reading, self._ahead : count].mean(2)
        rows = images.shape[1] // self.patch_size
        return looks.reshape(*looks.shape[:2], rows, -1)

    def pixels(
        self, images: Shaped[Array, "batch height width channels"]
    ) -> Shaped[Array, "batch rows columns pixels"]:
        """What each patch is made of, row by row, the channels of a pixel together."""
        self._check(images)
        return patchify(images, self.patch_size)

    def _embedded(self, images: Array) -> Array:
        """The class token, if there is one, and the patches row by row, each with its position."""
        self._check(images)
        x = self.patches(images.astype(self.dtype))
        batch, rows, columns, width = x.shape
        x = x.reshape(batch, rows * columns, width)
        if self.positions == "sincos":
            x = x + sincos_2d(rows, columns, width).astype(self.dtype)
        if self.pool == "token":
            x = jnp.concatenate([self._for_each(self.class_token, batch), x], axis=1)
        return self.learned_positions(x) if self.positions == "learned" else x

    def _with_registers(self, x: Array) -> Array:
        if not self.registers:
            return x
        return jnp.concatenate([x, self._for_each(self.register_tokens, len(x))], axis=1)

    @property
    def _ahead(self) -> int:
        """Tokens in front of the patches."""
        return 1 if self.pool == "token" else 0

    @nn.nowrap
    def _check(self, images: Array) -> None:
        check_images(images, "vit")
        if images.shape[1] % self.patch_size or images.shape[2] % self.patch_size:
            raise UserError(
                f"images of {images.shape[1]}x{images.shape[2]} do not divide into patches of"
                f" {self.patch_size}x{self.patch_size}; resize them, or give vit another patch_size"
            )

    @nn.nowrap
    def _plan(self) -> tuple[int, int, int]:
        width, depth, heads = SIZES[self.size]
        return (
            width if self.width is None else self.width,
            depth if self.depth is None else self.depth,
            heads if self.heads is None else self.heads,
        )

    @nn.nowrap
    def _tokens(self, name: str, count: int, width: int) -> Array:
        """Learned tokens, the same for every example."""
        start = nn.initializers.normal(1e-6)  # as timm starts them
        return self.param(name, start, (1, count, width), self.param_dtype)

    @nn.nowrap
    def _for_each(self, tokens: Array, batch: int) -> Array:
        return jnp.broadcast_to(tokens.astype(self.dtype), (batch, *tokens.shape[1:]))
