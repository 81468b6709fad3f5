"""Layers that several image models share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlresearch.models import functional
from dlresearch.models.blur_pool import blur_pool
from dlresearch.models.positions import sincos_2d
from dlresearch.models.stochastic_depth import drop_branch, drop_rates


class Branch(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, *, train):
        return drop_branch(x, self.rate, train=train)


def test_branches_are_dropped_by_example_and_the_rest_is_scaled():
    model = functional(Branch, rate=0.25)
    ones = jnp.ones((4000, 2, 3))
    outputs, _ = model.apply({}, {}, ones, train=True, key=jax.random.key(0))
    kept = np.asarray(outputs[:, 0, 0] > 0)
    np.testing.assert_allclose(outputs, np.where(kept[:, None, None], 4 / 3, 0) * ones, rtol=1e-6)
    # Four standard deviations of a share of 4,000.
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)
    np.testing.assert_array_equal(model.apply({}, {}, ones, train=False)[0], ones)


def test_a_rate_of_zero_needs_no_key():
    outputs, _ = functional(Branch, rate=0.0).apply({}, {}, jnp.ones((2, 3)), train=True)
    np.testing.assert_array_equal(outputs, 1)


def test_rates_rise_on_a_line_from_zero():
    np.testing.assert_allclose(drop_rates(0.3, 4), [0, 0.1, 0.2, 0.3])
    assert drop_rates(0.3, 1) == (0.0,)


@pytest.mark.parametrize(("height", "width"), [(6, 5), (2, 3), (1, 4), (1, 1)])
def test_blur_pool_is_the_binomial_filter_at_every_second_place(height, width):
    images = np.random.default_rng(0).standard_normal((2, height, width, 3))

    def blurred(line):
        ends = [line[1], line[-2]] if len(line) > 1 else [line[0]] * 2
        padded = np.array([ends[0], *line, ends[1]])
        return (padded[:-2] + 2 * padded[1:-1] + padded[2:])[::2] / 4

    expected = np.apply_along_axis(blurred, 2, np.apply_along_axis(blurred, 1, images))
    np.testing.assert_allclose(jax.jit(blur_pool)(images), expected, rtol=1e-5, atol=1e-6)


def test_blur_pool_keeps_a_constant_and_removes_a_checkerboard():
    board = jnp.indices((8, 8)).sum(0) % 2 * 2.0 - 1
    np.testing.assert_allclose(blur_pool(jnp.full((1, 7, 7, 1), 3.0)), 3)
    np.testing.assert_allclose(blur_pool(board[None, :, :, None]), 0, atol=1e-6)


def test_sincos_positions_are_the_formula():
    positions = np.asarray(sincos_2d(3, 2, 12))
    assert positions.shape == (1, 6, 12)
    for row in range(3):
        for column in range(2):
            angles = np.array([1, 1e-2, 1e-4])
            expected = [wave(p * angles) for p in (column, row) for wave in (np.sin, np.cos)]
            np.testing.assert_allclose(
                positions[0, 2 * row + column], np.concatenate(expected), rtol=1e-5, atol=1e-6
            )
