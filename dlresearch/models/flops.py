"""Counting floating-point operations of a function, from its jaxpr.

XLA's own `cost_analysis` counts the body of a `lax.scan` once whatever its length, so a utilisation
computed from it is wrong for every recurrent network and for several steps in one dispatch.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Operations in the matrix products and convolutions of one call, on all devices together.

    A multiplication and an addition count as two. Everything else (activations, normalisation,
    reductions, Fourier transforms) is ignored. A scan counts its body as often as it runs, a
    condition its most expensive branch. A `while` loop, whose length nobody knows beforehand, and a
    Pallas kernel, whatever its grid, count once; `shard_map` counts for one device.

    Args:
      function: what `jax.make_jaxpr` can trace.
      arguments: pytrees of arrays or `jax.ShapeDtypeStruct`; nothing is computed.
    """
    return jaxpr_flops(jax.make_jaxpr(function)(*arguments))


def jaxpr_flops(jaxpr: ClosedJaxpr) -> int:
    """As `count_flops`, of what `jax.jit(...).trace(...)` has traced already."""
    return _count(jaxpr.jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name in ("rnn_fwd", "rnn_bwd"):
        return _cudnn_lstm(equation)
    if name == "scan":
        return params["length"] * _count(params["jaxpr"].jaxpr)
    if name == "cond":
        return max(_count(branch.jaxpr) for branch in params["branches"])
    return sum(_count(jaxpr) for value in params.values() for jaxpr in _jaxprs(value))


def _jaxprs(value: Any) -> Iterator[Jaxpr]:
    """What jit, remat, custom derivatives and their like hold in their parameters."""
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _jaxprs(item)


def _dot(equation: Any) -> int:
    """2 * batch * m * n * k: two for each output and each contracted position."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * prod(equation.outvars[0].aval.shape) * prod(left[axis] for axis in contracted)


def _cudnn_lstm(equation: Any) -> int:
    """Of `jax.experimental.rnn.lstm`: each weight once for each step, in the gradient twice."""
    params = equation.params
    batch, steps, _ = equation.invars[0].aval.shape  # the inputs, or the gradient of the outputs
    width, directions = params["hidden_size"], 2 if params["bidirectional"] else 1
    features = params["input_size"] + (params["num_layers"] - 1) * directions * width
    weights = 4 * width * directions * (features + params["num_layers"] * width)
    return (2 if equation.primitive.name == "rnn_fwd" else 4) * batch * steps * weights


def _convolution(equation: Any) -> int:
    """Two for each product of a kernel entry and an input entry that is there.

    Products with the zeros of padding and of dilation are left out. Without padding this is the
    textbook's 2 * outputs * window * input channels / groups; a 3x3 kernel on 8x8 positions with
    padding has (22/24)**2 of that. Counted so, the gradients with respect to input and kernel,
    which JAX writes as convolutions with other padding and dilation, cost as much as the
    convolution itself, whatever its stride. XLA's `cost_analysis` counts convolutions the same way.
    """
    params = equation.params
    numbers = params["dimension_numbers"]
    left, right = (variable.aval.shape for variable in equation.invars)
    output = equation.outvars[0].aval.shape
    out_batch, out_features, *out_spatial = (output[axis] for axis in numbers.out_spec)
    _, _, *left_spatial = (left[axis] for axis in numbers.lhs_spec)
    _, in_features, *window = (right[axis] for axis in numbers.rhs_spec)  # in_features of one group
    products = (
        _pairs(*sizes)
        for sizes in zip(
            left_spatial,
            window,
            out_spatial,
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    )
    return 2 * out_batch * out_features * in_features * prod(products)


def _pairs(
    inputs: int,
    window: int,
    outputs: int,
    stride: int,
    padding: tuple[int, int],
    input_dilation: int,
    window_dilation: int,
) -> int:
    """Along one axis, the pairs (output, window entry) that read an input and not a zero."""
    read = (
        np.arange(outputs)[:, None] * stride
        + np.arange(window)[None, :] * window_dilation
        - padding[0]
    )
    there = (read >= 0) & (read <= (inputs - 1) * input_dilation) & (read % input_dilation == 0)
    return int(there.sum())
