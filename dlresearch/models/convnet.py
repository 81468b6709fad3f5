"""A plain convolutional network: stages of 3x3 convolutions, each halving the resolution."""

from math import prod
from typing import Any, Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from dlresearch.errors import UserError, suggest
from dlresearch.models.checks import check_outputs, check_shares
from dlresearch.models.cpu import max_pool_2x2
from dlresearch.models.layers import (
    Activation,
    Norm,
    activation,
    check_sizes,
    check_types,
    norm,
)

Head = Literal["mean", "flatten"]


class ConvNet(nn.Module):
    """VGG-like (Simonyan and Zisserman 2015, arXiv:1409.1556), with normalisation and a small head.

    A stage is `convs_per_stage` times (convolution, normalisation, activation), then a 2x2 maximum.

    Attributes:
      num_outputs: size of the last layer; None returns the features before it.
      widths: channels of each stage.
      convs_per_stage: convolutions in a stage.
      kernel_size: height and width of every convolution.
      norm: `none`, `batch` or `layer` (over channels).
      activation: between layers.
      head: `mean` averages over positions, `flatten` keeps them (and so fixes the image size).
      hidden: sizes of dense layers between the head and the output.
      dropout: share of units set to zero in training, before each dense layer.
      remat: keep only the inputs of the stages for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    widths: tuple[int, ...] = (32, 64)
    convs_per_stage: int = 2
    kernel_size: int = 3
    norm: Norm = "batch"
    activation: Activation = "relu"
    head: Head = "mean"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_sizes(
            widths=self.widths,
            convs_per_stage=self.convs_per_stage,
            kernel_size=self.kernel_size,
            hidden=self.hidden,
        )
        check_shares(dropout=self.dropout)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32; UserError where images are too small for the stages."""
        if self.head not in get_args(Head):
            raise UserError(
                f"no head is called {self.head!r}; {suggest(self.head, get_args(Head))}"
            )
        if images.ndim != 4:
            raise UserError(
                f"convnet reads images [batch, height, width, channel], not an array"
                f" {list(images.shape)}"
            )
        if min(images.shape[1:3]) < 2 ** len(self.widths):
            raise UserError(
                f"images of {images.shape[1]}x{images.shape[2]} are too small for "
                f"{len(self.widths)} stages that halve them; give convnet fewer widths"
            )
        activate = activation(self.activation)
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        bias = self.norm == "none"  # a normalisation has one of its own

        def stage(module: nn.Module, x: Array, width: int) -> Array:
            for _ in range(self.convs_per_stage):
                x = nn.Conv(width, (self.kernel_size,) * 2, use_bias=bias, **types)(x)
                x = activate(norm(self.norm, train=train, **types)(x))
            return max_pool_2x2(x)

        if self.remat:
            stage = nn.remat(stage, static_argnums=2)
        x = images.astype(self.dtype)
        for width in self.widths:
            x = stage(self, x, width)
        x = x.mean((1, 2)) if self.head == "mean" else x.reshape(-1, prod(x.shape[1:]))
        for width in self.hidden:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.Dense(width, use_bias=bias, **types)(x)
            x = activate(norm(self.norm, train=train, **types)(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.num_outputs is None:
            return x.astype(jnp.float32)
        return nn.Dense(self.num_outputs, dtype=jnp.float32, param_dtype=self.param_dtype)(x)
