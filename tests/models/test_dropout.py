"""Dropout masks from random bytes."""

import jax
import numpy as np
import pytest

from dlresearch.models.dropout import dropout_mask


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
