"""Choices by name that several models share, and checks of what they are given."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

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
