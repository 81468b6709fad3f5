"""Penalties against finite differences in float64, and their gradients against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.tasks.gan.penalties import gradient_penalty, path_length, zero_centred_penalty

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.standard_normal((2, 5, 2, 2, 1)).astype(np.float32)
WEIGHTS = {
    "first": RNG.standard_normal((4, 6)).astype(np.float32) / 2,
    "second": RNG.standard_normal(6).astype(np.float32) / 2,
}
SHARE = np.asarray(jax.random.uniform(jax.random.key(3), (5, 1, 1, 1)))
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


@every_penalty
def test_the_gradient_of_a_penalty_is_that_of_double_backward(name):
    torch = pytest.importorskip("torch")
    ours, _, points = PENALTIES[name]
    weights = {k: torch.tensor(v, dtype=torch.float64).requires_grad_() for k, v in WEIGHTS.items()}
    images = torch.tensor(points, dtype=torch.float64).requires_grad_()
    logits = torch.tanh(images.flatten(1) @ weights["first"]) @ weights["second"]
    (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    if name == "gradient_penalty":
        penalty = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
    else:
        penalty = slopes.square().flatten(1).sum(1).mean()
    penalty.backward()
    for key, gradient in jax.grad(ours)(WEIGHTS).items():
        np.testing.assert_allclose(gradient, weights[key].grad, rtol=1e-4, atol=1e-6)


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

STYLES = RNG.standard_normal((3, 2, 4)).astype(np.float32)
MAP = RNG.standard_normal((8, 12)).astype(np.float32) / 3  # to images 2x3x2
NOISE = np.asarray(jax.random.normal(KEY, (3, 2, 3, 2))) / np.sqrt(6)
MEAN = 0.4


def synthesise(weights, styles):
    return jnp.tanh(styles.reshape(len(styles), -1) @ weights).reshape(-1, 2, 3, 2)


def test_path_lengths_are_those_of_finite_differences():
    def projected(styles):
        made = np.tanh(styles.reshape(len(styles), -1) @ MAP.astype(np.float64))
        return (made * NOISE.reshape(3, -1)).sum(1)

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
    torch = pytest.importorskip("torch")

    def ours(weights):
        return path_length(
            lambda styles: synthesise(weights, styles), jnp.asarray(STYLES), KEY, jnp.float32(MEAN)
        )[0]

    weights = torch.tensor(MAP, dtype=torch.float64).requires_grad_()
    styles = torch.tensor(STYLES, dtype=torch.float64).requires_grad_()
    made = torch.tanh(styles.flatten(1) @ weights).reshape(3, 2, 3, 2)
    projected = (made * torch.tensor(NOISE, dtype=torch.float64)).sum()
    (slopes,) = torch.autograd.grad(projected, styles, create_graph=True)
    lengths = slopes.square().sum(2).mean(1).sqrt()
    mean = MEAN + 0.01 * (lengths.mean().detach() - MEAN)
    (lengths - mean).square().mean().backward()
    np.testing.assert_allclose(jax.grad(ours)(MAP), weights.grad, rtol=1e-4, atol=1e-6)
