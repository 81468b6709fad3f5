"""Spectral norm divides by the largest singular value, and moves in training only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlresearch.models.gan.layers import Style
from helpers.references import reference

STYLE = Style(True, nn.initializers.normal(0.5), jnp.float32, jnp.float32)
X = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def conv():
    """A 3x3 convolution from 3 to 5 channels, and its variables."""
    layer = STYLE.conv(5, "conv")
    return layer, jax.jit(lambda key: layer.init(key, X, train=True))(jax.random.key(0))


@pytest.fixture(scope="module")
def step(conv):
    """One call in training: the result and new state."""
    return jax.jit(lambda variables: conv[0].apply(variables, X, train=True, mutable=["spectral"]))


def matrix(variables):
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    return kernel.reshape(-1, kernel.shape[-1])


def with_weights(divisor, variables):
    """The convolution with its kernel divided, by Flax."""
    params = {**variables["params"], "kernel": variables["params"]["kernel"] / divisor}
    return nn.Conv(5, (3, 3)).apply({"params": params}, X)


def test_after_many_steps_it_divides_by_the_largest_singular_value(conv, step):
    _, variables = conv
    for _ in range(50):
        result, state = step(variables)
        variables = {**variables, **state}
    largest = np.linalg.svd(matrix(variables), compute_uv=False)[0]
    np.testing.assert_allclose(result, with_weights(largest, variables), rtol=1e-4, atol=1e-5)


def test_it_starts_near_the_largest_singular_value(conv):
    _, variables = conv
    u, v = variables["spectral"]["u"], variables["spectral"]["v"]
    largest = np.linalg.svd(matrix(variables), compute_uv=False)[0]
    assert 0.9 * largest < v @ matrix(variables) @ u <= largest * (1 + 1e-6)


def test_one_step_is_that_of_the_paper(conv, step):
    _, variables = conv
    result, state = step(variables)
    weights, u = matrix(variables), np.asarray(variables["spectral"]["u"], np.float64)
    v = weights @ u / np.linalg.norm(weights @ u)
    u = v @ weights / np.linalg.norm(v @ weights)
    np.testing.assert_allclose(state["spectral"]["u"], u, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state["spectral"]["v"], v, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        result, with_weights(v @ weights @ u, variables), rtol=1e-5, atol=1e-5
    )


def test_evaluation_uses_the_kept_vectors_and_moves_nothing(conv, step):
    layer, variables = conv
    changed = {**variables["params"], "kernel": variables["params"]["kernel"] * 1.5 + 0.1}
    variables = {"params": changed, "spectral": variables["spectral"]}
    u, v = (np.asarray(variables["spectral"][name], np.float64) for name in "uv")
    result, state = layer.apply(variables, X, train=False, mutable=["spectral"])
    jax.tree.map(np.testing.assert_array_equal, state["spectral"], variables["spectral"])
    sigma = v @ matrix(variables) @ u
    np.testing.assert_allclose(result, with_weights(sigma, variables), rtol=1e-5, atol=1e-5)
    assert not np.allclose(result, step(variables)[0], rtol=1e-3)


def test_a_step_and_its_gradient_are_those_of_pytorch(conv):
    recorded = reference("gan_spectral_norm")
    layer, variables = conv
    params = {**variables["params"], "kernel": recorded["kernel"]}
    spectral = {**variables["spectral"], "u": recorded["u"]}

    @jax.jit
    def loss(params):
        variables = {"params": params, "spectral": spectral}
        result, state = layer.apply(variables, recorded["images"], train=True, mutable=["spectral"])
        return jnp.sum(jnp.square(result)), (result, state)

    gradients, (result, state) = jax.grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(result, recorded["outputs"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state["spectral"]["u"], recorded["new_u"], rtol=1e-4)
    expected = recorded["kernel_gradient"]
    np.testing.assert_allclose(gradients["kernel"], expected, rtol=1e-3, atol=1e-3)


def test_dense_layers_and_embeddings_have_norm_1_after_many_steps():
    label = jnp.arange(4)
    for layer, inputs in ((STYLE.dense(3, "dense"), jnp.eye(4)), (STYLE.embed(4, 3, "e"), label)):
        variables = layer.init(jax.random.key(0), inputs, train=True)
        call = jax.jit(
            lambda variables, layer=layer, inputs=inputs: layer.apply(
                variables, inputs, train=True, mutable=["spectral"]
            )
        )
        for _ in range(30):
            weights, state = call(variables)
            variables = {**variables, **state}
        largest = np.linalg.svd(np.asarray(weights, np.float64), compute_uv=False)[0]
        assert largest == pytest.approx(1, rel=1e-4)


def test_vectors_and_division_stay_float32_for_low_precision_layers():
    style = Style(True, nn.initializers.normal(0.5), jnp.bfloat16, jnp.bfloat16)
    layer = style.conv(5, "conv")
    variables = jax.eval_shape(lambda key: layer.init(key, X, train=True), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["spectral"])} == {
        jnp.dtype(jnp.float32)
    }
