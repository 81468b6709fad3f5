"""What predicts masked tokens from what an encoder has made of their places."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dlresearch.models.tied_head import TiedHead


class MaskedTokenHead(nn.Module):
    """A dense layer, GELU and normalisation, then the embedding as the last matrix, with a bias, as
    in the code of Devlin et al. 2019, arXiv:1810.04805.

    Attributes:
      dtype: of the computation; the outputs are in float32.
      param_dtype: of the parameters.
    """

    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        encoded: Float[Array, "batch place width"],
        embedding: Float[Array, "vocabulary width"],
    ) -> Float[Array, "batch place vocabulary"]:
        """Logits, in float32."""
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.Dense(encoded.shape[-1], name="transform", **types)(encoded)
        x = nn.gelu(x, approximate=False)
        x = nn.LayerNorm(name="norm", **types)(x)
        return TiedHead(len(embedding), tied=True, name="logits", **types)(x, embedding)
