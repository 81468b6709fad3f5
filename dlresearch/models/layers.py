"""Choices by name that several models share, and checks of what they are given."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from dlresearch.errors import UserError, suggest

Activation = Literal["elu", "gelu", "leaky_relu", "relu", "silu", "tanh"]
ACTIVATIONS: Mapping[Activation, Callable[[Array], Array]] = MappingProxyType(
    {
        "elu": jax.nn.elu,
        "gelu": jax.nn.gelu,
        "leaky_relu": jax.nn.leaky_relu,
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
        "tanh": jnp.tanh,
    }
)
Norm = Literal["none", "batch", "layer"]


def activation(name: Activation) -> Callable[[Array], Array]:
    """The activation function called `name`; raises UserError for an unknown one."""
    if name not in ACTIVATIONS:
        raise UserError(f"no activation is called {name!r}; {suggest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def check_sizes(**sizes: int | tuple[int, ...]) -> None:
    """Raises UserError for a size below 1."""
    for name, size in sizes.items():
        if any(each < 1 for each in np.ravel(size)):
            raise UserError(f"{name}={size}: must be at least 1")


def check_types(**types: DTypeLike) -> None:
    """Raises UserError for what is no floating-point type."""
    for name, type_ in types.items():
        try:
            known = jnp.issubdtype(jnp.dtype(type_), jnp.floating)
        except TypeError:
            known = False
        if not known:
            raise UserError(f"{name}={type_}: use float32, bfloat16 or float16")


def halve_by_max(
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height//2 width//2 channels"]:
    """The maximum of each 2x2 block; an odd last row or column is left out.

    Equal to `nn.max_pool(images, (2, 2), (2, 2))`, except that equal maxima share their gradient.
    Written with slices, as XLA's gradient of a windowed maximum is about 30 times slower on CPU
    (128x28x28x32, two cores: 40 ms against 1.2).
    """
    height, width = (size // 2 * 2 for size in images.shape[1:3])
    rows = jnp.maximum(images[:, 0:height:2], images[:, 1:height:2])
    return jnp.maximum(rows[:, :, 0:width:2], rows[:, :, 1:width:2])


def max_of_neighbours(
    images: Float[Array, "batch height width channels"], stride: int
) -> Float[Array, "batch height_out width_out channels"]:
    """The maximum of each 3x3 window around every `stride`-th pixel, cut off at the border.

    Equal to `nn.max_pool(images, (3, 3), (stride, stride), ((1, 1), (1, 1)))`, except that equal
    maxima share their gradient. With slices, as `halve_by_max` (16x112x112x64, stride 2, two cores:
    forward and gradient take 25 ms and not 136).
    """
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    height, width = images.shape[1:3]
    rows = [padded[:, start : start + height : stride] for start in range(3)]
    highest = jnp.maximum(jnp.maximum(rows[0], rows[1]), rows[2])
    columns = [highest[:, :, start : start + width : stride] for start in range(3)]
    return jnp.maximum(jnp.maximum(columns[0], columns[1]), columns[2])


def pixelwise(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "1 1 channels features"],
    strides: Sequence[int],
    *_: Any,
    precision: Any = None,
    **__: Any,
) -> Float[Array, "batch height_out width_out features"]:
    """A convolution of size 1 as a matrix product, for `nn.Conv(conv_general_dilated=...)`.

    On CPU XLA's product is up to six times faster than its convolution, most of all in the gradient
    of the kernel (16x56x56x64 to 256, two cores: 275 against 137 GFLOP/s forward, and 242 against
    42 in that gradient).
    """
    rows, columns = strides
    images = images[:, ::rows, ::columns]
    # With two axes, as XLA:CPU copies products of more of them to contract them in the gradient.
    pixels = images.reshape(-1, images.shape[-1])
    product = jnp.matmul(pixels, kernel[0, 0], precision=precision)
    return product.reshape(*images.shape[:3], -1)


def norm(
    kind: Norm, *, train: bool, dtype: DTypeLike, param_dtype: DTypeLike
) -> Callable[[Float[Array, "batch *spatial features"]], Float[Array, "batch *spatial features"]]:
    """A normalisation over the last axis; statistics are computed and kept in float32.

    Args:
      kind: `none`, `batch` (Ioffe and Szegedy 2015, arXiv:1502.03167) or `layer` (Ba et al. 2016,
        arXiv:1607.06450); anything else raises UserError.
      train: whether `batch` uses the batch and updates its averages, or uses the averages.
    """
    if kind == "none":
        return lambda inputs: inputs
    if kind == "batch":
        # 0.9 rather than Flax's 0.99: short runs are evaluated before 0.99 has forgotten its start.
        return nn.BatchNorm(
            use_running_average=not train, momentum=0.9, dtype=dtype, param_dtype=param_dtype
        )
    if kind == "layer":
        return nn.LayerNorm(dtype=dtype, param_dtype=param_dtype)
    raise UserError(f"no normalisation is called {kind!r}; {suggest(kind, get_args(Norm))}")


def orthogonal(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an orthogonal kernel, computed in float32 (Saxe et al. 2014, arXiv:1312.6120).

    QR takes no bfloat16, and since jax 0.12 does not convert it either.
    """
    return nn.initializers.orthogonal()(key, shape, jnp.float32).astype(dtype)
