"""The decoder of a masked autoencoder: from some patches of an image to the pixels of all."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.encoder_block import EPSILON, EncoderBlock
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.positions import sincos_2d


class MAEDecoder(nn.Module):
    """A small transformer that is thrown away after pretraining (He et al. 2021, arXiv:2111.06377,
    section 3).

    Where a patch is missing it reads a mask token, the same everywhere; all patches have positions
    of sines and cosines, and the class token has none. Parameters are `embedding`, `mask_token`,
    `blocks_0` and so on, `final_norm` and `head`.

    Attributes:
      num_outputs: pixels of a patch, times channels; from the task.
      width: features of a token.
      depth: blocks.
      heads: of the attention, which divide the width.
      mlp_ratio: width of the hidden layer in a block for one of `width`.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; softmax and the last layer always compute in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int
    width: int = 512
    depth: int = 8
    heads: int = 16
    mlp_ratio: float = 4.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(
            num_outputs=self.num_outputs, width=self.width, depth=self.depth, heads=self.heads
        )
        if self.width % self.heads:
            raise UserError(f"width={self.width} does not divide into heads={self.heads}")
        if self.width % 4:
            raise UserError(f"width={self.width}: must divide by 4, for the positions")
        if round(self.width * self.mlp_ratio) < 1:
            raise UserError(f"mlp_ratio={self.mlp_ratio}: leaves no hidden unit")
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "batch tokens features"],
        keep: Int[Array, "batch kept"],
        masked: Bool[Array, "batch rows columns"],
        *,
        train: bool,
    ) -> Float[Array, "batch rows columns outputs"]:
        """The pixels of all patches, in float32.

        Args:
          tokens: of the encoder: the class token, if there is one, then the patches of `keep`.
          keep: the patches that are not masked, counted row by row, in ascending order.
          masked: which patches are missing.
        """
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        dense: dict[str, Any] = {"kernel_init": nn.initializers.xavier_uniform()}
        x = nn.Dense(self.width, name="embedding", **dense, **types)(tokens.astype(self.dtype))
        start = nn.initializers.normal(0.02)  # as in the code of He et al.
        token = self.param("mask_token", start, (1, 1, self.width), self.param_dtype)
        batch, rows, columns = masked.shape
        ahead = tokens.shape[1] - keep.shape[1]
        missing = masked.reshape(batch, rows * columns)
        # The place among what was kept; of a masked patch that of any other.
        place = jnp.clip(jnp.cumsum(~missing, axis=1) - 1, 0)
        seen = jnp.take_along_axis(x[:, ahead:], place[:, :, None], axis=1)
        patches = jnp.where(missing[:, :, None], token.astype(self.dtype), seen)
        patches = patches + sincos_2d(rows, columns, self.width).astype(self.dtype)
        x = jnp.concatenate([x[:, :ahead], patches], axis=1)
        block: Any = nn.remat(EncoderBlock, static_argnums=(2, 3)) if self.remat else EncoderBlock
        hidden = round(self.width * self.mlp_ratio)
        for index in range(self.depth):
            x = block(self.heads, hidden, 0.0, name=f"blocks_{index}", **types)(x, train, False)
        last: dict[str, Any] = {"dtype": jnp.float32, "param_dtype": self.param_dtype}
        x = nn.LayerNorm(epsilon=EPSILON, name="final_norm", **last)(x[:, ahead:])
        x = nn.Dense(self.num_outputs, name="head", **dense, **last)(x)
        return x.reshape(batch, rows, columns, self.num_outputs)
