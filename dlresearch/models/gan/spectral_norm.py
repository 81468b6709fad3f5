"""Spectral normalisation as model state: weights divided by their largest singular value.

Miyato et al. 2018, arXiv:1802.05957, algorithm 1. Flax's `nn.SpectralNorm` iterates in evaluation,
too, and so moves the normalised weights there; it also keeps its state under names with slashes.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

START_ITERATIONS = 15
"""Power iterations from random vectors at the start, as many as in PyTorch's parametrisation."""
EPSILON = 1e-12
COLLECTION = "spectral"


def spectrally_normalised(
    module: nn.Module, kernel: Float[Array, "*rest outputs"], *, train: bool
) -> Float[Array, "*rest outputs"]:
    """`kernel / sigma`, in float32, for use in a compact method of `module`.

    Sigma is `v @ kernel @ u` with the kernel as a matrix [rest, outputs]. Each call in training
    makes one power iteration and keeps `u` and `v`, in float32, in the collection `spectral`; no
    gradient passes through them. In evaluation they are used as they are.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)
    constant = jax.lax.stop_gradient(matrix)

    def start() -> Array:
        u = jax.random.normal(module.make_rng("params"), constant.shape[1:], jnp.float32)
        return jax.lax.fori_loop(0, START_ITERATIONS, lambda _, u: _iterated(constant, u)[0], u)

    u_kept = module.variable(COLLECTION, "u", start)
    v_kept = module.variable(COLLECTION, "v", lambda: _unit(_product(constant, u_kept.value)))
    if train and not module.is_initializing():
        u_kept.value, v_kept.value = _iterated(constant, u_kept.value)
    u, v = u_kept.value, v_kept.value
    sigma = _product(v, _product(matrix, u))
    return (matrix / sigma).reshape(kernel.shape)


def _iterated(matrix: Float[Array, "rest outputs"], u: Array) -> tuple[Array, Array]:
    v = _unit(_product(matrix, u))
    return _unit(_product(v, matrix)), v


def _product(a: Array, b: Array) -> Array:
    # The rounding of bfloat16 products, the default on TPU, would enter all weights.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), EPSILON)
