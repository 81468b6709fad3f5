"""Penalties against finite differences in float64, and their gradients against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.tasks.gan.penalties import gradient_penalty, path_length, zero_centred_penalty
from helpers.references import part, reference

RECORDED = reference("gan_penalties")
REAL, FAKE = RECORDED["real"], RECORDED["fake"]
WEIGHTS = part(RECORDED, "weights")
SHARE, NOISE = RECORDED["share"], RECORDED["noise"]
BETWEEN = SHARE * REAL + (1 - SHARE) * FAKE
KEY = jax.random.key(3)


def judge(weights, images):
    return jnp.tanh(images.reshape(len(images), -1) @ weights["first"]) @ weights["second"]


def judge_float64(images):
    first, second = (np.asarray(WEIGHTS[name], np.float64) for name in ("first", "second"))
    return np.tanh(images.reshape(len(images), -1) @ first) @ second


def differences(function, inputs):
    """The gradient [rows, entries] of row-wise logits, by central differences in float64."""
    inputs = np.asarray(inputs, np.float64)
    flat, step = inputs.reshape(len(inputs), -1), 1e-5
    columns = []
    for entry in range(flat.shape[1]):
        moved = [flat.copy(), flat.copy()]
        moved[0][:, entry] -= step
        moved[1][:, entry] += step
        low, high = (function(each.reshape(inputs.shape)) for each in moved)
        columns.append((high - low) / (2 * step))
    return np.stack(columns, axis=1)


PENALTIES = {
    "gradient_penalty": (
        lambda weights: gradient_penalty(lambda x: judge(weights, x), REAL, FAKE, KEY),
        lambda slopes: (np.sqrt(np.square(slopes).sum(1)) - 1) ** 2,
        BETWEEN,
    ),
    "gradient_penalty to 0": (
        lambda weights: gradient_penalty(lambda x: judge(weights, x), REAL, FAKE, KEY, target=0.0),
        lambda slopes: np.square(slopes).sum(1),
        BETWEEN,
    ),
    "zero_centred_penalty": (
        lambda weights: zero_centred_penalty(lambda x: judge(weights, x), REAL),
        lambda slopes: np.square(slopes).sum(1),
        REAL,
    ),
}
every_penalty = pytest.mark.parametrize("name", PENALTIES)


@every_penalty
def test_a_penalty_is_that_of_finite_differences(name):
    ours, of_slopes, points = PENALTIES[name]
    expected = of_slopes(differences(judge_float64, points)).mean()
    np.testing.assert_allclose(ours(WEIGHTS), expected, rtol=1e-5)


def test_the_recorded_random_numbers_are_those_of_jax():
    """Otherwise the recorded gradients belong to other points; run tests/references/make.py."""
    np.testing.assert_array_equal(SHARE, jax.random.uniform(KEY, SHARE.shape))
    np.testing.assert_allclose(NOISE, jax.random.normal(KEY, NOISE.shape), rtol=1e-5)


@every_penalty
def test_the_gradient_of_a_penalty_is_that_of_double_backward(name):
    ours, _, _ = PENALTIES[name]
    expected = part(RECORDED, f"gradients/{name}")
    gradients = jax.grad(ours)(WEIGHTS)
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[key], rtol=1e-4, atol=1e-6)


def test_a_flat_discriminator_has_a_finite_gradient():
    flat = {"first": np.zeros((4, 6), np.float32), "second": WEIGHTS["second"]}
    penalty, gradients = jax.value_and_grad(PENALTIES["gradient_penalty"][0])(flat)
    assert penalty == 1
    assert all(np.isfinite(each).all() for each in gradients.values())


def test_penalties_are_float32_whatever_the_network_computes_in():
    def half(images):
        return judge(jax.tree.map(jnp.bfloat16, WEIGHTS), images.astype(jnp.bfloat16))

    exact = zero_centred_penalty(lambda x: judge(WEIGHTS, x), REAL)
    penalty = zero_centred_penalty(half, jnp.bfloat16(REAL))
    assert penalty.dtype == jnp.float32
    np.testing.assert_allclose(penalty, exact, rtol=0.05)  # bfloat16 has 8 bits


# --- path length --------------------------------------------------------------------------------

STYLES, MAP = RECORDED["path_length/styles"], RECORDED["path_length/map"]  # to images 2x3x2
PIXEL_NOISE = NOISE / np.sqrt(6)
MEAN = RECORDED["path_length/mean"]


def synthesise(weights, styles):
    return jnp.tanh(styles.reshape(len(styles), -1) @ weights).reshape(-1, 2, 3, 2)


def test_path_lengths_are_those_of_finite_differences():
    def projected(styles):
        made = np.tanh(styles.reshape(len(styles), -1) @ MAP.astype(np.float64))
        return (made * PIXEL_NOISE.reshape(3, -1)).sum(1)

    slopes = differences(projected, STYLES).reshape(STYLES.shape)
    expected = np.sqrt(np.square(slopes).sum(-1).mean(-1))
    mean = MEAN + 0.01 * (expected.mean() - MEAN)
    penalty, new_mean, lengths = path_length(
        lambda styles: synthesise(MAP, styles), jnp.asarray(STYLES), KEY, jnp.float32(MEAN)
    )
    np.testing.assert_allclose(lengths, expected, rtol=1e-5)
    np.testing.assert_allclose(new_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(penalty, np.square(expected - mean).mean(), rtol=1e-5)


def test_the_gradient_of_the_path_length_penalty_is_that_of_double_backward():
    def ours(weights):
        return path_length(
            lambda styles: synthesise(weights, styles), jnp.asarray(STYLES), KEY, jnp.float32(MEAN)
        )[0]

    expected = RECORDED["path_length/gradient"]
    np.testing.assert_allclose(jax.grad(ours)(MAP), expected, rtol=1e-4, atol=1e-6)
