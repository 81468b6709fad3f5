"""The block of a transformer over patches."""

from typing import Any

import jax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dlresearch.models.stochastic_depth import drop_branch

EPSILON = 1e-6


class EncoderBlock(nn.Module):
    """Attention over all tokens, then two dense layers at each, with the normalisation in front.

    Attributes:
      heads: of the attention, which divide the width.
      hidden: width of the hidden layer.
      rate: share of examples for which each of the two halves is left out in training.
      dtype: of the computation; the softmax is in float32.
      param_dtype: of the parameters.
    """

    heads: int
    hidden: int
    rate: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch tokens width"], train: bool, weights: bool = False
    ) -> Array:
        """Tokens [batch, tokens, width]; with `weights` those of the attention instead, in float32
        [batch, heads, query, key].
        """
        read: list[Array] = []

        def attend(query: Array, key: Array, value: Array) -> Array:
            if weights:
                found = nn.dot_product_attention_weights(query, key, force_fp32_for_softmax=True)
                read.append(found)
            return jax.nn.dot_product_attention(query, key, value)  # its softmax is in float32

        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        # Xavier, as in the code of Dosovitskiy et al.; the paper does not say.
        dense: dict[str, Any] = {"kernel_init": nn.initializers.xavier_uniform(), **types}
        y = nn.LayerNorm(epsilon=EPSILON, name="norm_1", **types)(x)
        y = nn.MultiHeadDotProductAttention(
            self.heads, attention_fn=attend, name="attention", **dense
        )(y)
        if weights:
            return read[0]
        x = x + drop_branch(y, self.rate, train=train)
        y = nn.LayerNorm(epsilon=EPSILON, name="norm_2", **types)(x)
        y = nn.Dense(self.hidden, name="expand", **dense)(y)
        y = nn.Dense(x.shape[-1], name="project", **dense)(nn.gelu(y, approximate=False))
        return x + drop_branch(y, self.rate, train=train)
