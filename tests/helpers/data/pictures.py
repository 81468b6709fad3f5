"""Images to change, and what the tests of augmentations share."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

KEY = jax.random.key(3)


@cache
def photographs(count: int = 8, height: int = 40, width: int = 56) -> np.ndarray:
    """Parts of a photograph, uint8 [count, height, width, 3]."""
    whole, rng = load_sample_image("china.jpg"), np.random.default_rng(1)
    tops = rng.integers(0, whole.shape[0] - height, count)
    lefts = rng.integers(0, whole.shape[1] - width, count)
    parts = [
        whole[top : top + height, left : left + width]
        for top, left in zip(tops, lefts, strict=True)
    ]
    images = np.stack(parts)
    images.flags.writeable = False  # others get the same array
    return images


def noise(count=256, height=9, width=7, channels=3, dtype=np.uint8) -> np.ndarray:
    """All values differ from 0 and mostly from each other, so that it shows what was drawn."""
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (count, height, width, channels)).astype(dtype)


def run(augmentation, image, key=KEY, **more):
    """The image of the batch after the augmentation, which is to leave everything else alone."""
    batch = {"image": jnp.asarray(image), "other": jnp.arange(len(image)), **more}
    result = jax.jit(augmentation)(key, batch)
    assert result.keys() == batch.keys()
    np.testing.assert_array_equal(result["other"], batch["other"])
    return np.asarray(result["image"])


def pillow(change, images, *each) -> np.ndarray:
    """`change(image, *values)` of every image and its values by Pillow, as one array."""
    return np.stack(
        [
            np.asarray(change(Image.fromarray(image), *values))
            for image, *values in zip(images, *each, strict=True)
        ]
    )


def levels_apart(one, other) -> np.ndarray:
    """Absolute differences of integer images."""
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int))
