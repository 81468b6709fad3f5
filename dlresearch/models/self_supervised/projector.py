"""What stands between a backbone and a loss in pretraining, and is thrown away afterwards."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice
from dlresearch.models.layers import Activation, activation, check_sizes, check_types, norm
from dlresearch.models.self_supervised.unit_length import unit_length

LastNorm = Literal["none", "batch", "batch without affine"]


class Projector(nn.Module):
    """Dense layers with batch normalisation between them: projectors and predictors of all methods.

    A hidden layer is dense, batch norm, activation; the last one is dense, and batch norm if asked
    for, without activation.

    Attributes:
      widths: of the layers, the last one the size of the output; `(2048, 128)` is that of SimCLR
        with a ResNet-50 (Chen et al. 2020, arXiv:2002.05709, section 4.2).
      norm: batch normalisation behind hidden layers, which then have no bias of their own.
      last_norm: behind the last layer: `none`, `batch`, or `batch without affine`, which has no
        factor and offset that are learned.
      last_bias: whether the last layer has a bias, where no normalisation follows it.
      activation: behind hidden layers.
      dtype: of the computation; outputs are float32.
      param_dtype: of the parameters.
    """

    widths: tuple[int, ...] = (2048, 128)
    norm: bool = True
    last_norm: LastNorm = "none"
    last_bias: bool = True
    activation: Activation = "relu"
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        if not self.widths:
            raise UserError("widths=(): a projector has one layer or more")
        check_sizes(widths=self.widths)
        check_choice("last_norm", self.last_norm, LastNorm)
        activation(self.activation)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch features"], *, train: bool
    ) -> Float[Array, "batch width"]:
        """Outputs in float32."""
        activate = activation(self.activation)
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        *hidden, width = self.widths
        x = inputs.astype(self.dtype)
        for each in hidden:
            x = nn.Dense(each, use_bias=not self.norm, **types)(x)
            x = activate(norm("batch" if self.norm else "none", train=train, **types)(x))
        bias = self.last_bias and self.last_norm == "none"
        x = nn.Dense(width, use_bias=bias, **types)(x)
        if self.last_norm != "none":
            affine = self.last_norm == "batch"
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                use_bias=affine,
                use_scale=affine,
                **types,
            )(x)
        return x.astype(jnp.float32)


class DINOHead(nn.Module):
    """The head of DINO (Caron et al. 2021, arXiv:2104.14294, appendix C).

    Dense layers with GELU, the last of them narrow; its output is brought to length 1 and goes
    through a weight-normalised layer without bias (Salimans and Kingma 2016, arXiv:1602.07868)
    whose columns have length 1. So its outputs are cosines. Defaults are the published sizes:
    2048, 2048, 256, 65536.

    Attributes:
      num_outputs: of the last layer.
      hidden: widths of the layers before the narrow one.
      bottleneck: width of the narrow layer.
      norm: batch normalisation behind hidden layers; theirs has none with a vision transformer.
      dtype: of the computation; outputs are float32, and so is the last layer.
      param_dtype: of the parameters.
    """

    num_outputs: int = 65536
    hidden: tuple[int, ...] = (2048, 2048)
    bottleneck: int = 256
    norm: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(num_outputs=self.num_outputs, hidden=self.hidden, bottleneck=self.bottleneck)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch features"], *, train: bool
    ) -> Float[Array, "batch num_outputs"]:
        """Cosines in float32."""
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        # As they start theirs: a normal distribution of 0.02, cut off far outside.
        dense = partial(nn.Dense, kernel_init=nn.initializers.truncated_normal(0.02), **types)
        x = inputs.astype(self.dtype)
        for width in self.hidden:
            x = dense(width)(x)
            x = norm("batch" if self.norm else "none", train=train, **types)(x)
            x = nn.gelu(x, approximate=False)
        x = unit_length(dense(self.bottleneck)(x))
        return UnitColumns(self.num_outputs, param_dtype=self.param_dtype, name="last")(x)


class Prototypes(nn.Module):
    """Cosines with vectors that are learned, as in SwAV (Caron et al. 2020, arXiv:2006.09882,
    section 3.1 and algorithm A.1).

    Inputs are brought to length 1, too. Theirs are scaled to length 1 before each step; here the
    scaling is part of the layer, so that the gradient has no part along a prototype.

    Attributes:
      count: of prototypes; 3000 is theirs for ImageNet.
      dtype: has no effect: this layer computes in float32, which its cosines need.
      param_dtype: of the parameters.
    """

    count: int = 3000
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(count=self.count)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch features"]) -> Float[Array, "batch count"]:
        """Cosines in float32."""
        return UnitColumns(self.count, param_dtype=self.param_dtype, name="last")(
            unit_length(inputs)
        )


class UnitColumns(nn.Module):
    """A dense layer without bias, in float32, whose columns are divided by their length."""

    width: int
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch features"]) -> Float[Array, "batch width"]:
        shape = inputs.shape[-1], self.width
        # Only directions count, and of a normal distribution they are uniform.
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, self.param_dtype)
        return jnp.matmul(
            inputs.astype(jnp.float32),
            unit_length(kernel, axis=0),
            precision=jax.lax.Precision.HIGHEST,
        )
