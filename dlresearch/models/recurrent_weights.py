"""Parameters of recurrent layers, and how they begin."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from dlresearch.models.layers import orthogonal
from dlresearch.models.recurrent_cells import GATES, PARALLEL

Init = Callable[..., Array]


class Weights(nn.Module):
    """The parameters of one direction of one layer, by name.

    `kernel` [features, gates * width] and `bias` [gates * width]; `recurrent_kernel`
    [width, gates * width] unless the cell is computed in parallel; `recurrent_bias` [width] of a
    GRU's candidate; with `layer_norm` also `input_norm` and `recurrent_norm` [gates * width], and
    an LSTM's `cell_norm` and `cell_norm_bias` [width].

    Each gate's matrix begins on its own: the input's by Glorot and Bengio 2010, the recurrent one
    orthogonal (Saxe et al. 2014). Biases begin at 0, the LSTM's forget gate at `forget_bias`.

    Attributes:
      cell: its name.
      width: of the output.
      layer_norm: as in `Recurrent`.
      forget_bias: as in `Recurrent`.
      initial_scale: as in `Recurrent`.
      param_dtype: of the parameters.
    """

    cell: str
    width: int
    layer_norm: bool
    forget_bias: float
    initial_scale: float | None
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, features: int) -> dict[str, Array]:
        width, gates = self.width, GATES[self.cell]
        scale = self.initial_scale
        inits = nn.initializers
        shapes: dict[str, tuple[Init, tuple[int, ...]]] = {
            "kernel": (_matrix(inits.glorot_uniform(), gates, scale), (features, gates * width)),
            "bias": (_bias(self.cell, self.forget_bias, scale), (gates * width,)),
        }
        if self.cell not in PARALLEL:
            init = _matrix(orthogonal, gates, scale)
            shapes["recurrent_kernel"] = init, (width, gates * width)
        if self.cell == "gru":
            shapes["recurrent_bias"] = inits.zeros if scale is None else _uniform(scale), (width,)
        if self.layer_norm:
            shapes["input_norm"] = inits.ones, (gates * width,)
            if self.cell not in PARALLEL:
                shapes["recurrent_norm"] = inits.ones, (gates * width,)
            if self.cell == "lstm":
                shapes["cell_norm"] = inits.ones, (width,)
                shapes["cell_norm_bias"] = inits.zeros, (width,)
        return {
            name: self.param(name, init, shape, self.param_dtype)
            for name, (init, shape) in shapes.items()
        }


def _uniform(scale: float) -> Init:
    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


def _matrix(init: Init, gates: int, scale: float | None) -> Init:
    """Of every gate its own, side by side."""
    if scale is not None:
        return _uniform(scale)

    def side_by_side(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
        each = shape[0], shape[1] // gates
        keys = jax.random.split(key, gates)
        return jnp.concatenate([init(one, each, dtype) for one in keys], axis=1)

    return side_by_side


def _bias(cell: str, forget_bias: float, scale: float | None) -> Init:
    def init(key: Array, shape: tuple[int], dtype: Any) -> Array:
        bias = jnp.zeros(shape, dtype) if scale is None else _uniform(scale)(key, shape, dtype)
        if cell == "lstm":
            width = shape[0] // 4
            bias = bias.at[width : 2 * width].add(forget_bias)
        return bias

    return init
