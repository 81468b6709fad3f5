"""The whitening layer of the speed runs, and what else its network starts from."""

import jax
import numpy as np
import pytest

from dlresearch.models import Airbench, functional, whitening_kernel
from dlresearch.models.airbench import partial_identity


def test_kernel_of_uncorrelated_channels_is_one_over_their_root_mean_square():
    # Pixels (4, 0), (-4, 0), (0, 1), (0, -1): second moments diag(8, 0.5).
    pixels = np.array([[4, 0], [-4, 0], [0, 1], [0, -1]], np.float32).reshape(4, 1, 1, 2)
    kernel = whitening_kernel(pixels, size=1, epsilon=0.25)
    assert kernel.shape == (1, 1, 2, 4) and kernel.dtype == np.float32
    expected = np.diag([1 / np.sqrt(8.25), 1 / np.sqrt(0.75)])
    # Eigenvectors in float32 are right to some units in the last place.
    np.testing.assert_allclose(np.abs(kernel[0, 0, :, :2]), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kernel[..., 2:], -kernel[..., :2])


def test_kernel_of_constant_images_has_one_mean_and_no_other_direction_with_variance():
    # Moments of patches of value a: a**2 everywhere, with eigenvalues 4 a**2 and three times 0.
    images = np.full((3, 5, 4, 1), 2.0)
    kernel = whitening_kernel(images, epsilon=0.01)
    np.testing.assert_allclose(np.abs(kernel[..., 0, 0]), 0.5 / np.sqrt(16.01), rtol=1e-5)
    others = kernel.reshape(4, 8)[:, 1:4]
    # Which three directions these are is left open. In float32 an eigenvalue of 0 next to one of 16
    # is up to some units in the last place of 16, or 1e-5, which is 1e-3 of epsilon.
    np.testing.assert_allclose(0.01 * others.T @ others, np.eye(3), atol=2e-3)


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
    largest = np.abs(outputs).max()
    np.testing.assert_allclose(outputs[..., 12:], -outputs[..., :12], atol=1e-5 * largest)


def test_network_starts_with_the_whitening_of_what_init_sees_and_nothing_trains_it():
    images = np.random.default_rng(0).standard_normal((20, 16, 16, 3)).astype(np.float32)
    model = functional(Airbench, num_outputs=3, widths=(8, 8))
    params, state = jax.jit(model.init)(jax.random.key(0), images)
    kernel = state["constants"]["whiten"]["kernel"]
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))
    patches = np.moveaxis(windows, 3, -1).reshape(-1, 12).astype(np.float64)
    filters = np.asarray(kernel, np.float64).reshape(12, 24)[:, :12]
    # Eigenvalues of noise are nearly alike, so that rounding turns eigenvectors into one another.
    # What they do together, V (L + epsilon)^-1 V', does not depend on it.
    expected = np.linalg.inv(patches.T @ patches / len(patches) + 5e-4 * np.eye(12))
    np.testing.assert_allclose(filters @ filters.T, expected, atol=1e-4)  # of order 1
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
    assert set(params["whiten"]) == {"bias"}
    _, trained = jax.jit(lambda *a: model.apply(*a, train=True))(params, state, images[:2] + 1)
    np.testing.assert_array_equal(trained["constants"]["whiten"]["kernel"], kernel)


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
