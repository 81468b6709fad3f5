"""Batch norm whose scale and bias depend on the class, or on a vector.

Dumoulin et al. 2017, arXiv:1610.07629, eq. 5, and de Vries et al. 2017, arXiv:1707.00683.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from dlresearch.models.gan.layers import Style

Condition = Int[Array, " batch"] | Float[Array, "batch features"] | None
"""Classes, vectors, or nothing."""


class ConditionalBatchNorm(nn.Module):
    """Batch norm, then `scale(condition) * x + bias(condition)` in each channel.

    For classes, `scale` and `bias` are embeddings that start with ones and zeros and have no
    spectral norm; for vectors, linear maps without bias, and the scale is 1 plus its map, as in
    BigGAN (Brock et al. 2019, arXiv:1809.11096, appendix B). Without a condition it is batch norm.

    Attributes:
      style: of the network.
      num_classes: where the condition is a class.
    """

    style: Style
    num_classes: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], condition: Condition, *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        style, channels = self.style, x.shape[-1]
        x = style.batch_norm(train, "norm", affine=condition is None)(x)
        if condition is None:
            return x
        if jnp.issubdtype(condition.dtype, jnp.integer):
            ones, zeros = nn.initializers.ones, nn.initializers.zeros
            types: dict[str, Any] = {"dtype": style.dtype, "param_dtype": style.param_dtype}
            scale = nn.Embed(
                self.num_classes, channels, embedding_init=ones, name="scale", **types
            )(condition)
            bias = nn.Embed(self.num_classes, channels, embedding_init=zeros, name="bias", **types)(
                condition
            )
        else:
            scale = 1 + style.dense(channels, "scale", use_bias=False)(condition, train=train)
            bias = style.dense(channels, "bias", use_bias=False)(condition, train=train)
        return x * scale[:, None, None] + bias[:, None, None]
