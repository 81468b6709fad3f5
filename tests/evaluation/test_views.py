"""Test-time augmentation against views cut by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from dlresearch.errors import UserError
from dlresearch.evaluation import OverViews
from dlresearch.evaluation.views import Flip, FlipAndShift

IMAGES = np.random.default_rng(0).integers(0, 255, (3, 5, 6, 1), dtype=np.uint8)


def pixels(variables, batch):
    """A prediction that shows what the model saw, and does not commute with the mean."""
    return {"logits": jnp.square(batch["image"].reshape(3, -1).astype(jnp.float32))}


def seen(views):
    return np.asarray(OverViews(pixels, views)(None, {"image": jnp.asarray(IMAGES)})["logits"])


def square(images):
    return np.square(np.asarray(images, np.float64)).reshape(3, -1)


def test_flip_is_the_mean_over_both_sides():
    mirrored = [np.asarray(ImageOps.mirror(Image.fromarray(each[..., 0]))) for each in IMAGES]
    np.testing.assert_allclose(seen(Flip()), (square(IMAGES) + square(mirrored)) / 2, rtol=1e-6)


@pytest.mark.parametrize("by", [1, 2])
def test_shifted_views_count_half_and_reflect_at_the_border(by):
    def shifted(sign):
        rows = [abs(r + sign * by) for r in range(5)]
        columns = [abs(c + sign * by) for c in range(6)]
        rows = [r if r < 5 else 8 - r for r in rows]
        columns = [c if c < 6 else 10 - c for c in columns]
        return IMAGES[:, rows][:, :, columns]

    expected = sum(
        weight * (square(images) + square(images[:, :, ::-1])) / 2
        for weight, images in ((0.5, IMAGES), (0.25, shifted(-1)), (0.25, shifted(1)))
    )
    np.testing.assert_allclose(seen(FlipAndShift(by)), expected, rtol=1e-6)


def test_too_far_a_shift_is_an_error():
    with pytest.raises(UserError, match="pixels=5: too far for images 5 by 6"):
        seen(FlipAndShift(5))
    with pytest.raises(UserError, match="pixels=0: must be at least 1"):
        FlipAndShift(0)
