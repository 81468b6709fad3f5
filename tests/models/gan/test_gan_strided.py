"""Convolutions that halve and double are the plain ones, and so are their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlresearch.models.gan.layers import Style, doubled, halved
from dlresearch.models.gan.strided import doubling, halving
from helpers.references import reference

LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain_halving(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT
    )


def plain_doubling(y, kernel):
    return jax.lax.conv_transpose(
        y, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT, transpose_kernel=True
    )


@pytest.fixture(scope="module")
def arrays():
    generator = np.random.default_rng(0)
    shapes = {"large": (2, 6, 8, 3), "small": (2, 3, 4, 2), "kernel": (4, 4, 3, 2)}
    return {name: generator.normal(size=s).astype(np.float32) for name, s in shapes.items()}


@pytest.mark.parametrize(
    ("ours", "plain", "images"),
    [(halving, plain_halving, "large"), (doubling, plain_doubling, "small")],
)
def test_values_and_two_orders_of_gradients_are_those_of_jax(arrays, ours, plain, images):
    def orders(function):
        def loss(images, kernel):
            return jnp.sum(jnp.tanh(0.3 * function(images, kernel)))

        def penalty(images, kernel):  # as a gradient penalty, of both gradients
            first = jax.grad(loss, (0, 1))(images, kernel)
            return sum(jnp.sum(jnp.square(each)) for each in first)

        def compute(*inputs):
            gradients = jax.grad(loss, (0, 1))(*inputs), jax.grad(penalty, (0, 1))(*inputs)
            return function(*inputs), gradients

        return jax.jit(compute)(arrays[images], arrays["kernel"])

    for got, expected in zip(
        jax.tree.leaves(orders(ours)), jax.tree.leaves(orders(plain)), strict=True
    ):
        # Sums of some hundred products of values around 1, in another order.
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_doubling_is_the_transposed_convolution_of_pytorch():
    recorded = reference("gan_strided")
    got = doubling(recorded["images"], recorded["kernel"])
    np.testing.assert_allclose(got, recorded["outputs"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("resize", ["halve", "double"])
def test_a_3x3_convolution_and_its_resizing_are_one(arrays, resize):
    style = Style(False, nn.initializers.normal(1.0), jnp.float32, jnp.float32)
    conv = style.conv(5, "conv", size=3, resize=resize)
    variables = conv.init(jax.random.key(0), arrays["large"], train=True)
    plain = nn.Conv(5, (3, 3), padding=1)

    def apart(x):
        return plain.apply(variables, x)

    x = arrays["large"]
    expected = halved(apart(x)) if resize == "halve" else apart(doubled(x))
    got = conv.apply(variables, x, train=True)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_halved_is_the_mean_of_blocks_and_doubled_repeats(arrays):
    x = arrays["large"]
    blocks = x.reshape(2, 3, 2, 4, 2, 3)
    np.testing.assert_allclose(halved(x), blocks.mean((2, 4)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(doubled(x), x.repeat(2, axis=1).repeat(2, axis=2))
