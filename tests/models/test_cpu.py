"""Each rewrite for the CPU is the plain operation, and no other platform gets it."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlresearch.models.cpu import conv_1x1, max_pool_2x2, max_pool_3x3

NHWC = ("NHWC", "HWIO", "NHWC")


def plain_conv(images, kernel, strides):
    return jax.lax.conv_general_dilated(images, kernel, strides, "VALID", dimension_numbers=NHWC)


def plain_pool(images, size, stride, padding):
    return nn.max_pool(images, (size, size), (stride, stride), ((padding, padding),) * 2)


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape) - 5  # below the zeros of any padding


def levels(seed, *shape):
    """Few different values, so that most windows have several maxima."""
    return jax.random.randint(jax.random.key(seed), shape, -3, 0).astype(jnp.float32)


POOLS = {
    "2x2": (max_pool_2x2, partial(plain_pool, size=2, stride=2, padding=0), (2, 6, 4, 3)),
    "2x2, odd": (max_pool_2x2, partial(plain_pool, size=2, stride=2, padding=0), (2, 7, 5, 3)),
    **{
        f"3x3, stride {stride}, {height}x{width}": (
            partial(max_pool_3x3, stride=stride),
            partial(plain_pool, size=3, stride=stride, padding=1),
            (2, height, width, 3),
        )
        for stride in (1, 2)
        for height, width in ((6, 5), (3, 8), (1, 1))
    },
}
OPERATIONS = {
    **{f"pool {name}": (*functions, (random(0, *s),)) for name, (*functions, s) in POOLS.items()},
    **{
        f"pool {name}, ties": (*functions, (levels(1, *s),))
        for name, (*functions, s) in POOLS.items()
    },
    **{
        f"conv, stride {stride}": (
            partial(conv_1x1, strides=(stride, stride)),
            partial(plain_conv, strides=(stride, stride)),
            (random(2, 2, 7, 5, 3), random(3, 1, 1, 3, 4)),
        )
        for stride in (1, 2, 3)
    },
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_rewrite_has_values_and_gradients_of_the_plain_operation(name):
    ours, plain, inputs = OPERATIONS[name]
    outputs = jax.eval_shape(plain, *inputs)
    weights = jax.random.normal(jax.random.key(4), outputs.shape)

    @partial(jax.jit, static_argnums=0)
    def both(function, *inputs):
        outputs, backward = jax.vjp(function, *inputs)
        return outputs, backward(weights)

    found, expected = both(ours, *inputs), both(plain, *inputs)
    if name.startswith("pool"):
        np.testing.assert_array_equal(found[0], expected[0])
    # Gradients are sums over up to 70 pixels, or nine windows, of order 1 to 5.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=5e-5), found, expected)


@pytest.mark.parametrize("name", ["pool 2x2", "pool 3x3, stride 2, 6x5"])
def test_a_value_that_is_no_number_is_not_lost(name):
    ours, plain, (images,) = OPERATIONS[name]
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1), (3, 2)):
        broken = images.at[0, row, column, 1].set(jnp.nan)
        np.testing.assert_array_equal(jax.jit(ours)(broken), jax.jit(plain)(broken))


@pytest.mark.parametrize("name", ["pool 2x2", "pool 3x3, stride 2, 6x5", "conv, stride 2"])
def test_only_a_program_for_the_cpu_has_the_rewrite(name):
    ours, plain, inputs = OPERATIONS[name]

    def operations(function, platform):
        def slopes(*inputs):
            return jax.grad(lambda *inputs: jnp.sum(jnp.sin(function(*inputs))))(*inputs)

        text = jax.jit(slopes).trace(*inputs).lower(lowering_platforms=(platform,)).as_text()
        kinds = "convolution|reduce_window|select_and_scatter|dot_general|slice|pad|compare"
        return sorted(re.findall(rf"stablehlo\.({kinds})\b", text))

    for platform in ("cuda", "rocm", "tpu"):
        assert operations(ours, platform) == operations(plain, platform)
    assert operations(ours, "cpu") != operations(plain, "cpu")


def test_a_layer_takes_the_convolution():
    images, layer = random(0, 2, 7, 5, 3), partial(nn.Conv, 4, (1, 1), 2, padding=0)
    usual, ours = layer(), layer(conv_general_dilated=conv_1x1)
    variables = usual.init(jax.random.key(1), images)
    np.testing.assert_allclose(
        ours.apply(variables, images), usual.apply(variables, images), rtol=1e-5
    )
