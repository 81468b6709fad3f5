"""Self-attention over the positions of an image (SAGAN, Zhang et al. 2019, arXiv:1805.08318)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from dlresearch.models.cpu import max_pool_2x2
from dlresearch.models.gan.layers import Style


class SelfAttention(nn.Module):
    """`x + gamma * out(softmax(query(x) key(x)^T) value(x))`, with gamma 0 at the start.

    Queries and keys have 1/8 of the channels and values 1/2; keys and values are reduced by the
    maximum over 2x2 blocks. So it is in the authors' code and in BigGAN; the paper has 1/8 for all
    and no maximum. The softmax is computed in float32.
    """

    style: Style

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        batch, height, width, channels = x.shape

        def layer(features: int, name: str, inputs: Array) -> Array:
            conv = self.style.conv(features, name, size=1, use_bias=False)
            return conv(inputs, train=train)

        narrow, half = max(channels // 8, 1), max(channels // 2, 1)
        query = layer(narrow, "query", x).reshape(batch, -1, narrow)
        key = max_pool_2x2(layer(narrow, "key", x)).reshape(batch, -1, narrow)
        value = max_pool_2x2(layer(half, "value", x)).reshape(batch, -1, half)
        scores = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores).astype(value.dtype)
        attended = jnp.einsum("bqk,bkc->bqc", weights, value).reshape(batch, height, width, half)
        gamma = self.param("gamma", nn.initializers.zeros, (), self.style.param_dtype)
        return x + gamma.astype(x.dtype) * layer(channels, "out", attended)
