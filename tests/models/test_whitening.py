"""The whitening layer of the speed runs, and what else its network starts from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import Airbench, functional, whitening_kernel
from dlresearch.models.airbench import partial_identity


def test_kernel_of_uncorrelated_channels_is_one_over_their_root_mean_square():
    # Pixels (4, 0), (-4, 0), (0, 1), (0, -1): second moments diag(8, 0.5).
    pixels = np.array([[4, 0], [-4, 0], [0, 1], [0, -1]], np.float32).reshape(4, 1, 1, 2)
    kernel = whitening_kernel(pixels, size=1, epsilon=0.25)
    assert kernel.shape == (1, 1, 2, 4) and kernel.dtype == np.float32
    expected = np.diag([1 / np.sqrt(8.25), 1 / np.sqrt(0.75)])
    np.testing.assert_allclose(np.abs(kernel[0, 0, :, :2]), expected, rtol=1e-6)
    np.testing.assert_array_equal(kernel[..., 2:], -kernel[..., :2])


def test_kernel_of_constant_images_has_one_mean_and_no_other_direction_with_variance():
    # Moments of patches of value a: a**2 everywhere, with eigenvalues 4 a**2 and three times 0.
    images = np.full((3, 5, 4, 1), 2.0)
    kernel = whitening_kernel(images, epsilon=0.01)
    np.testing.assert_allclose(np.abs(kernel[..., 0, 0]), 0.5 / np.sqrt(16.01), rtol=1e-6)
    others = kernel.reshape(4, 8)[:, 1:4]
    np.testing.assert_allclose(others.T @ others, np.eye(3) / 0.01, atol=1e-4)


def test_patches_are_uncorrelated_behind_it():
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((300, 6, 7, 3)) @ rng.standard_normal((3, 3)) + 1
    images = (mixed + np.roll(mixed, 1, axis=1)).astype(np.float32)
    kernel = whitening_kernel(images, epsilon=1e-6)
    outputs = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    half = np.asarray(outputs[..., :12], np.float64).reshape(-1, 12)
    np.testing.assert_allclose(half.T @ half / len(half), np.eye(12), atol=1e-3)
    np.testing.assert_allclose(outputs[..., 12:], -outputs[..., :12], atol=1e-4)


def test_network_is_prepared_with_training_images_and_nothing_trains_the_kernel():
    images = np.random.default_rng(0).standard_normal((20, 16, 16, 3)).astype(np.float32)
    model = functional(Airbench, num_outputs=3, widths=(8, 8))
    params, state = jax.jit(model.init)(jax.random.key(0), images[:2])
    new_params, new_state = model.module.prepared(params, state, images)
    assert new_params is params
    kernel = new_state["constants"]["whiten"]["kernel"]
    np.testing.assert_array_equal(kernel, whitening_kernel(images))
    assert np.any(kernel != state["constants"]["whiten"]["kernel"])
    assert new_state["batch_stats"] is state["batch_stats"]
    assert set(params["whiten"]) == {"bias"}
    _, trained = jax.jit(lambda *a: model.apply(*a, train=True))(params, new_state, images)
    np.testing.assert_array_equal(trained["constants"]["whiten"]["kernel"], kernel)


def test_unprepared_kernel_is_that_of_uncorrelated_pixels():
    model = functional(Airbench, num_outputs=3, widths=(8,))
    _, state = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 9, 9, 1)))
    kernel = state["constants"]["whiten"]["kernel"].reshape(4, 8)
    np.testing.assert_array_equal(kernel, np.concatenate([np.eye(4), -np.eye(4)], axis=1))


def test_images_of_other_channels_cannot_prepare():
    model = functional(Airbench, num_outputs=3, widths=(8,))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    with pytest.raises(UserError, match="images of 1 channels cannot prepare an airbench for 3"):
        model.module.prepared(*variables, np.zeros((4, 9, 9, 1)))


@pytest.mark.parametrize("outputs", [3, 5, 7])
def test_convolutions_start_by_handing_on_their_inputs(outputs):
    kernel = jax.jit(partial_identity, static_argnums=1)(jax.random.key(0), (3, 3, 5, outputs))
    images = jax.random.normal(jax.random.key(1), (2, 6, 6, 5))
    handed_on = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    passed = min(outputs, 5)
    np.testing.assert_allclose(handed_on[..., :passed], images[..., :passed], rtol=1e-6)
    rest = kernel[..., passed:]
    assert np.all(np.abs(rest) <= 1 / np.sqrt(9 * 5)) and np.all(rest != 0)
