"""The last layer over a vocabulary."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class TiedHead(nn.Module):
    """The last layer, with a matrix of its own or, tied, a given one."""

    outputs: int
    tied: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        readouts: Float[Array, "batch time features"],
        embedding: Float[Array, "outputs features"],
    ) -> Float[Array, "batch time outputs"]:
        batch, time, features = readouts.shape
        if self.tied:
            kernel = embedding.T
        else:
            start = nn.initializers.xavier_uniform()
            kernel = self.param("kernel", start, (features, self.outputs), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.outputs,), self.param_dtype)
        # With two axes, as XLA:CPU copies products of more of them to contract in the gradient.
        flat = readouts.reshape(-1, features) @ kernel.astype(self.dtype)
        return flat.astype(jnp.float32).reshape(batch, time, -1) + bias.astype(jnp.float32)
