"""The optimizers by name; each takes the learning rate, the weight decay and what decays.

What weight decay means depends on the optimizer:
- sgd, adam, rmsprop: `weight_decay * parameter` is added to the gradient (an L2 penalty);
- adamw, lion, muon: decoupled, the update loses `learning_rate * weight_decay * parameter`
  (Loshchilov and Hutter 2019, arXiv:1711.05101);
- lars, lamb: added to the direction whose norm the trust ratio then divides by.

`decay_mask` is a pytree of booleans like the parameters, or a function that gives it.
"""

from collections.abc import Callable
from math import prod, sqrt
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree
from optax import contrib

from dlresearch.errors import UserError
from dlresearch.patterns import path_of

Rate: TypeAlias = optax.Schedule | float
Mask: TypeAlias = PyTree[bool] | Callable[[PyTree], PyTree[bool]]


def sgd(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """m <- momentum * m + g; p <- p - rate * m, or rate * (g + momentum * m) with `nesterov`.

    The velocity holds gradients and not steps, as in Sutskever et al. 2013 but for the rate.
    """
    _check_rates(momentum=momentum)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, decay_mask),
        optax.sgd(learning_rate, momentum or None, nesterov),
    )


def adam(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Kingma and Ba 2015, arXiv:1412.6980, algorithm 1."""
    _check_rates(b1=b1, b2=b2)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, decay_mask),
        optax.adam(learning_rate, b1, b2, eps),
    )


def adamw(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    _check_rates(b1=b1, b2=b2)
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=decay_mask)


def rmsprop(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    decay: float = 0.9,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
) -> optax.GradientTransformation:
    """p <- p - rate * g / (sqrt(v) + eps), where v averages g**2 (Hinton 2012, lecture 6e).

    `centered` takes the variance of g for v (Graves 2013, arXiv:1308.0850, eq. 39); `momentum` is
    applied to the steps.
    """
    _check_rates(decay=decay, momentum=momentum)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, decay_mask),
        optax.rmsprop(
            learning_rate,
            decay,
            eps,
            centered=centered,
            momentum=momentum or None,
            eps_in_sqrt=False,
        ),
    )


def lars(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    clip: bool = False,
) -> optax.GradientTransformation:
    """SGD with steps in proportion to each parameter's norm (You et al. 2017, arXiv:1708.03888).

    Biases and normalisation scales (one axis or none) have no trust ratio, as large-batch recipes
    do it. The learning rate is applied before the momentum. With `clip`, the trust ratio is not a
    factor on the learning rate but its limit, parameter by parameter (LARC of NVIDIA's Apex, with
    which solo-learn trains on CIFAR).
    """
    _check_rates(momentum=momentum)
    if clip:
        return optax.chain(
            optax.add_decayed_weights(weight_decay, decay_mask),
            _at_most_trusted(learning_rate, trust_coefficient, eps),
            optax.trace(momentum, nesterov),
            optax.scale(-1.0),
        )
    return optax.lars(
        learning_rate,
        weight_decay,
        decay_mask,
        trust_coefficient,
        eps,
        trust_ratio_mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        momentum=momentum,
        nesterov=nesterov,
    )


def _at_most_trusted(
    learning_rate: Rate, trust_coefficient: float, eps: float
) -> optax.GradientTransformation:
    """Multiplies by the learning rate, of no parameter more than its trust ratio."""

    def scaled(update: Array, param: Array, rate: Array) -> Array:
        if param.ndim > 1:
            size, length = jnp.linalg.norm(param), jnp.linalg.norm(update)
            trusted = trust_coefficient * size / (length + eps)
            # As in `optax.lars`, nothing is known where either is zero.
            rate = jnp.where((size > 0) & (length > 0), jnp.minimum(rate, trusted), rate)
        return rate.astype(update.dtype) * update

    def init(params: optax.Params) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        rate = jnp.asarray(learning_rate(state.count) if callable(learning_rate) else learning_rate)
        updates = jax.tree.map(lambda u, p: scaled(u, p, rate), updates, params)
        count = optax.safe_increment(state.count)
        return updates, optax.ScaleByScheduleState(count=count)

    return optax.GradientTransformation(init, update)


def lamb(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
) -> optax.GradientTransformation:
    """Adam with a trust ratio by parameter (You et al. 2020, arXiv:1904.00962, algorithm 2)."""
    _check_rates(b1=b1, b2=b2)
    return optax.lamb(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=decay_mask)


def lion(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
) -> optax.GradientTransformation:
    """The sign of a mean of gradients (Chen et al. 2023, arXiv:2302.06675, program 1)."""
    _check_rates(b1=b1, b2=b2)
    return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay, mask=decay_mask)


def muon(
    learning_rate: Rate,
    weight_decay: float,
    decay_mask: Mask,
    *,
    beta: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    rms: float | None = 0.2,
    fixed_norm: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Momentum made orthogonal by Newton-Schulz iterations (Jordan et al. 2024).

    For matrices, and for convolution kernels over images and volumes, taken as matrices (window
    and input channels) x (output channels). Vectors, embeddings and arrays with three axes, which
    may be convolutions or attention heads, use AdamW. A step has a root mean square of about `rms`
    times the rate, like Adam's, so that both share one learning rate (Liu et al. 2025,
    arXiv:2502.16982, eq. 4).

    Args:
      rms: None leaves the step orthogonal, with singular values near 1.
      fixed_norm: give every matrix the Frobenius norm sqrt(output channels) before each step, as
        the speed runs on CIFAR-10 do (Jordan 2024, airbench94_muon). Not together with weight
        decay, which it would undo.
    """
    _check_rates(beta=beta, b1=b1, b2=b2)
    if fixed_norm and weight_decay:
        raise UserError("fixed_norm undoes weight_decay; set that to 0")

    def labels(params: PyTree) -> PyTree[str]:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: "muon" if _is_matrix(path_of(path), leaf) else "adamw", params
        )

    return optax.partition(
        {
            "muon": optax.chain(
                contrib.scale_by_muon(
                    ns_steps=ns_steps,
                    beta=beta,
                    eps=eps,
                    nesterov=nesterov,
                    weight_dimension_numbers=lambda tree: jax.tree.map(_as_matrix, tree),
                ),
                optax.identity()
                if rms is None
                else optax.stateless(lambda updates, _: jax.tree.map(_to_rms(rms), updates)),
                optax.add_decayed_weights(weight_decay, decay_mask),
                optax.scale_by_learning_rate(learning_rate),
                optax.stateless(_from_fixed_norm) if fixed_norm else optax.identity(),
            ),
            "adamw": adamw(learning_rate, weight_decay, decay_mask, b1=b1, b2=b2, eps=eps),
        },
        labels,
    )


def _check_rates(**rates: float) -> None:
    """Refuses decay rates of moments that would let them grow without end."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise UserError(f"{name}={rate} is not in [0, 1)")


def _is_matrix(path: str, leaf: Array) -> bool:
    # Two axes: dense and recurrent kernels; four and five: convolutions over images and volumes.
    return leaf.ndim in (2, 4, 5) and not path.endswith("embedding")


def _as_matrix(leaf: Array) -> contrib.MuonDimensionNumbers:
    return contrib.MuonDimensionNumbers(
        reduction_axis=tuple(range(leaf.ndim - 1)), output_axis=leaf.ndim - 1
    )


def _from_fixed_norm(updates: PyTree, params: PyTree) -> PyTree:
    """Updates that start where the parameters would be with norm sqrt(output channels)."""

    def from_there(update: Array, param: Array) -> Array:
        return update + param * (sqrt(param.shape[-1]) / jnp.linalg.norm(param) - 1)

    return jax.tree.map(from_there, updates, params)


def _to_rms(rms: float) -> Callable[[Array], Array]:
    """Scales an orthogonal matrix of any shape to this root mean square of its entries."""

    def scale(update: Array) -> Array:
        fan_in, fan_out = prod(update.shape[:-1]), update.shape[-1]
        return update * (rms * sqrt(max(fan_in, fan_out)))

    return scale
