"""StyleGAN2's layers against direct formulas in NumPy float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d

from dlresearch.errors import UserError
from dlresearch.models.gan.stylegan2_discriminator import minibatch_deviation
from dlresearch.models.gan.stylegan2_layers import (
    EqualisedConv,
    EqualisedDense,
    activate,
    channels_at,
    convolve,
)
from dlresearch.models.gan.stylegan2_resampling import (
    convolve_down,
    convolve_up,
    downsample,
    upsample,
)
from dlresearch.models.gan.stylegan2_synthesis import modulated_convolution

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((3, 4, 6, 5))
KERNEL = RNG.standard_normal((3, 3, 5, 2))


def zeros_between(image):
    spread = np.zeros([2 * side - 1 for side in image.shape])
    spread[::2, ::2] = image
    return spread


def by_channel(function, images):
    maps = [[function(each[..., c]) for c in range(each.shape[-1])] for each in images]
    return np.moveaxis(np.array(maps), 1, -1)


def upsampled(image):
    # The first pixel stands between the second and the third tap.
    return convolve2d(np.pad(zeros_between(image), ((0, 1), (0, 1))), 4 * FILTER)[1:-2, 1:-2]


def downsampled(image):
    return convolve2d(np.pad(image, 1), FILTER, mode="valid")[::2, ::2]


def up(image, kernel):
    """Zeros between the pixels, a true convolution, the filter."""
    return convolve2d(np.pad(convolve2d(zeros_between(image), kernel), 1), 4 * FILTER, "valid")


def down(image, kernel):
    blurred = convolve2d(np.pad(image, 2), FILTER, mode="valid")
    return correlate2d(blurred, kernel, mode="valid")[::2, ::2]


def same(image, kernel):
    return correlate2d(image, kernel, mode="same")


def convolved(function, images, kernels):
    """Each image [height, width, channels] with a kernel of its own."""
    return np.stack(
        [
            np.stack(
                [
                    sum(function(image[..., c], kernel[..., c, f]) for c in range(image.shape[-1]))
                    for f in range(kernel.shape[-1])
                ],
                axis=-1,
            )
            for image, kernel in zip(images, kernels, strict=True)
        ]
    )


def test_upsampling_is_the_filter_between_zeros():
    np.testing.assert_allclose(
        upsample(jnp.float32(IMAGES)), by_channel(upsampled, IMAGES), rtol=1e-5, atol=1e-5
    )


def test_downsampling_is_every_second_pixel_of_the_filter():
    np.testing.assert_allclose(
        downsample(jnp.float32(IMAGES)), by_channel(downsampled, IMAGES), rtol=1e-5, atol=1e-5
    )


CONVOLUTIONS = {"up": (convolve_up, up), "down": (convolve_down, down), "same": (convolve, same)}
every_convolution = pytest.mark.parametrize("name", CONVOLUTIONS)


@every_convolution
def test_a_convolution_that_resamples_is_the_filter_and_the_convolution(name):
    ours, theirs = CONVOLUTIONS[name]
    expected = convolved(theirs, IMAGES, [KERNEL] * len(IMAGES))
    actual = ours(jnp.float32(IMAGES), jnp.float32(KERNEL))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@every_convolution
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_a_kernel_for_each_example(name, demodulate):
    ours, theirs = CONVOLUTIONS[name]
    scales = RNG.standard_normal((3, 5))
    kernels = scales[:, None, None, :, None] * KERNEL
    if demodulate:
        kernels /= np.sqrt(np.square(kernels).sum((1, 2, 3), keepdims=True) + 1e-8)
    actual = modulated_convolution(
        jnp.float32(IMAGES), jnp.float32(KERNEL), jnp.float32(scales), ours, demodulate=demodulate
    )
    np.testing.assert_allclose(actual, convolved(theirs, IMAGES, kernels), rtol=1e-4, atol=1e-5)


def test_demodulation_survives_scales_beyond_float16():
    scales = jnp.float32(RNG.standard_normal((3, 5)))
    arguments = (jnp.float32(IMAGES), jnp.float32(KERNEL))
    expected = modulated_convolution(*arguments, scales, convolve, demodulate=True)
    half = jnp.float16(IMAGES)
    actual = modulated_convolution(half, arguments[1], 1e6 * scales, convolve, demodulate=True)
    assert actual.dtype == jnp.float16
    # float16 has 11 bits, and an output is a sum of 45 products.
    np.testing.assert_allclose(actual, expected, rtol=0.01, atol=0.01)


def test_a_layer_starts_at_unit_variance_and_moves_by_its_rate():
    dense = EqualisedDense(256, learning_rate_multiplier=0.01, bias=1.0)
    inputs = jax.random.normal(jax.random.key(0), (64, 300))
    variables = dense.init(jax.random.key(1), inputs)
    kernel, bias = (
        np.asarray(variables["params"][name], np.float64) for name in ("kernel", "bias")
    )
    # 76,800 draws: the standard deviation of their deviation is 0.3 %.
    assert kernel.std() == pytest.approx(100, rel=0.02)
    np.testing.assert_allclose(bias, 100.0)
    outputs = np.asarray(dense.apply(variables, inputs))
    assert (outputs - 1).std() == pytest.approx(1, rel=0.05)
    np.testing.assert_allclose(
        outputs, np.asarray(inputs) @ kernel * 0.01 / np.sqrt(300) + 1, rtol=1e-4, atol=1e-4
    )
    gradient = jax.grad(lambda each: dense.apply(each, inputs).sum())(variables)["params"]
    expected = np.asarray(inputs).sum(0)[:, None] * np.ones(256) * 0.01 / np.sqrt(300)
    np.testing.assert_allclose(gradient["kernel"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient["bias"], 64 * 0.01, rtol=1e-5)


@pytest.mark.parametrize(("size", "fan_in"), [(1, 5), (3, 45)])
def test_a_convolution_is_scaled_by_its_fan_in(size, fan_in):
    conv = EqualisedConv(2, size, bias=False, gain=3.0)
    kernel = KERNEL[:size, :size]
    actual = conv.apply({"params": {"kernel": jnp.float32(kernel)}}, jnp.float32(IMAGES))
    plain = convolved(same, IMAGES, [kernel] * len(IMAGES))
    np.testing.assert_allclose(actual, 3 * plain / np.sqrt(fan_in), rtol=1e-4, atol=1e-5)


def test_a_shortcut_filters_and_then_multiplies_each_pixel():
    conv = EqualisedConv(2, 1, halve=True, bias=False)
    kernel = KERNEL[:1, :1]
    actual = conv.apply({"params": {"kernel": jnp.float32(kernel)}}, jnp.float32(IMAGES))
    expected = by_channel(downsampled, IMAGES) @ kernel[0, 0] / np.sqrt(5)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_activations_keep_the_second_moment_and_float16_in_range():
    inputs = RNG.standard_normal(1000)
    expected = np.where(inputs > 0, inputs, 0.2 * inputs) * np.sqrt(2)
    np.testing.assert_allclose(activate(jnp.float32(inputs)), expected, rtol=1e-6)
    assert activate(jnp.float16([1000.0])) == 256
    assert activate(jnp.float16([1000.0]), 0.5) == 128
    assert activate(jnp.bfloat16([1000.0])) > 1000


@pytest.mark.parametrize(("batch", "group_size"), [(6, 3), (4, 4), (2, 4), (6, 1)])
def test_minibatch_deviation_is_that_of_each_group(batch, group_size):
    features = RNG.standard_normal((batch, 2, 3, 5))
    actual = np.asarray(minibatch_deviation(jnp.float32(features), group_size))
    np.testing.assert_array_equal(actual[..., :-1], np.float32(features))
    groups = max(1, batch // group_size)
    for row in range(batch):
        deviation = np.sqrt(features[row % groups :: groups].var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(actual[row, ..., -1], deviation, rtol=1e-5)


def test_groups_that_do_not_divide_the_batch_name_what_does():
    with pytest.raises(UserError, match=r"batch of 6 .* group_size=3$"):
        minibatch_deviation(jnp.ones((6, 1, 1, 1)), 4)


def test_channels_fall_with_the_resolution():
    count = partial(channels_at, base=32768, largest=512)
    assert [count(2**e) for e in range(2, 11)] == [512] * 5 + [256, 128, 64, 32]
