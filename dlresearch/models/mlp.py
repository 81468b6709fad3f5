"""The multilayer perceptron, for tables and as a baseline for anything small."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from dlresearch.models.checks import check_outputs, check_shares
from dlresearch.models.layers import (
    Activation,
    Norm,
    activation,
    check_sizes,
    check_types,
    norm,
)


class MLP(nn.Module):
    """Dense layers with normalisation, activation and dropout between them.

    Attributes:
      num_outputs: size of the last layer; None returns the features before it.
      hidden: sizes of the layers before it; `()` makes a linear model.
      activation: between layers.
      dropout: share of hidden units set to zero in training.
      norm: `none`, `batch` or `layer`, before the activation.
      remat: keep only the inputs of the hidden layers for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    hidden: tuple[int, ...] = (128,)
    activation: Activation = "relu"
    dropout: float = 0.0
    norm: Norm = "none"
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_sizes(hidden=self.hidden)
        check_shares(dropout=self.dropout)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, inputs: Shaped[Array, "batch *rest"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32; all axes of `inputs` but the first are flattened."""
        activate = activation(self.activation)
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def layer(module: nn.Module, x: Array, width: int) -> Array:
            # A normalisation has a bias of its own.
            x = nn.Dense(width, use_bias=self.norm == "none", **types)(x)
            x = activate(norm(self.norm, train=train, **types)(x))
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        if self.remat:
            layer = nn.remat(layer, static_argnums=2)
        x = inputs.reshape(inputs.shape[0], -1).astype(self.dtype)
        for width in self.hidden:
            x = layer(self, x, width)
        if self.num_outputs is None:
            return x.astype(jnp.float32)
        return nn.Dense(self.num_outputs, dtype=jnp.float32, param_dtype=self.param_dtype)(x)
