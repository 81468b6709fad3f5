"""Dropout masks from random bytes."""

import jax
import numpy as np
import pytest

from dlresearch.models.dropout import Dropout, dropout_mask


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_mask_drops_the_asked_share_and_keeps_the_mean(dropout):
    shape = (50, 4, 251)  # a last axis that no word of four bytes divides
    mask = np.asarray(dropout_mask(jax.random.key(0), dropout, shape, "float32"))
    assert mask.shape == shape
    share = round(dropout * 256) / 256
    spread = (share * (1 - share) / mask.size) ** 0.5
    assert abs(np.mean(mask == 0) - share) < 4 * spread
    np.testing.assert_allclose(mask[mask != 0], 1 / (1 - share), rtol=1e-6)
    # Neighbours, which may come from one word, are dropped independently.
    both = np.mean((mask[..., 1:] == 0) & (mask[..., :-1] == 0))
    assert both == pytest.approx(share**2, abs=5 * spread)


def test_masks_of_two_keys_differ():
    first, other = (dropout_mask(jax.random.key(seed), 0.5, (8, 8), "float32") for seed in (0, 1))
    assert np.any(first != other)


def test_locked_dropout_is_the_same_at_all_steps_and_none_outside_of_training():
    x = np.ones((3, 5, 64), np.float32)
    rngs = {"dropout": jax.random.key(0)}
    locked, free = (
        np.asarray(Dropout(0.5, locked).apply({}, x, train=True, rngs=rngs))
        for locked in (True, False)
    )
    assert np.all(locked == locked[:, :1]) and np.any(locked[0, 0] != locked[1, 0])
    assert np.any(free != free[:, :1])
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, train=False), x)
