"""Augmentations against NumPy at the parameters that they must have drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.data.augmentations import Cutout, Flip, Normalise, ShiftedCrop, apply_all
from dlresearch.errors import UserError

RNG = np.random.default_rng(0)
KEY = jax.random.key(3)
TYPES = (np.uint8, np.float32)


def images(dtype=np.uint8, size=256, height=9, width=7, channels=3):
    # All values differ from 0 and mostly from each other, so that parameters can be recovered.
    return RNG.integers(1, 256, (size, height, width, channels)).astype(dtype)


def run(augmentation, image, key=KEY):
    batch = {"image": jnp.asarray(image), "label": jnp.arange(len(image))}
    result = jax.jit(augmentation)(key, batch)
    np.testing.assert_array_equal(result["label"], batch["label"])
    return np.asarray(result["image"])


@pytest.mark.parametrize("dtype", TYPES)
def test_flip_mirrors_each_image_by_itself_or_not_at_all(dtype):
    image = images(dtype, size=1000)
    flipped = run(Flip(0.3), image)
    assert flipped.dtype == dtype
    mirrored = np.array(
        [np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, image, strict=True)]
    )
    same = np.array([np.array_equal(a, b) for a, b in zip(flipped, image, strict=True)])
    assert np.all(mirrored ^ same)
    # Binomial, 1,000 draws: five standard deviations are 0.072.
    assert abs(mirrored.mean() - 0.3) < 0.072
    np.testing.assert_array_equal(run(Flip(1.0), image), image[:, :, ::-1])
    np.testing.assert_array_equal(run(Flip(0.0), image), image)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("zeros", "constant")])
def test_shifted_crop_is_a_crop_of_the_padded_image(dtype, mode, numpy_mode):
    image, padding = images(dtype), 2
    cropped = run(ShiftedCrop(padding, mode), image)
    assert cropped.dtype == dtype and cropped.shape == image.shape
    sides = ((padding, padding), (padding, padding), (0, 0))
    counts = np.zeros((2 * padding + 1, 2 * padding + 1), int)
    for before, after in zip(image, cropped, strict=True):
        padded = np.pad(before, sides, mode=numpy_mode)
        found = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if np.array_equal(padded[row : row + 9, column : column + 7], after)
        ]
        assert len(found) == 1
        counts[found[0]] += 1
    # 256 crops over 25 places: none is empty but with probability 0.0007, and the key is fixed.
    assert counts.min() >= 1


def test_normalise_is_its_formula_in_float64():
    image = images()
    expected = (image.astype(np.float64) / 255 - [0.4, 0.5, 0.6]) / [0.1, 0.2, 0.3]
    result = run(Normalise(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)), image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    ends = run(Normalise(), np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    np.testing.assert_allclose(ends.ravel(), [-1, 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_fills_a_square_around_a_pixel_of_the_image(dtype, size):
    image = images(dtype, size=512)
    result = run(Cutout(size, fill=0), image)
    assert result.dtype == dtype
    centres = set()
    for before, after in zip(image, result, strict=True):
        hole = np.all(after == 0, axis=-1)
        np.testing.assert_array_equal(after[~hole], before[~hole])
        matching = []
        for row in range(9):
            for column in range(7):
                expected = np.zeros((9, 7), bool)
                top, left = row - size // 2, column - size // 2
                expected[max(top, 0) : top + size, max(left, 0) : left + size] = True
                if np.array_equal(expected, hole):
                    matching.append((row, column))
        assert matching
        centres |= set(matching)
    assert len(centres) == 63  # every pixel is the centre somewhere


def test_apply_all_gives_each_augmentation_a_key_of_its_own():
    image = images(size=64)
    batch = {"image": jnp.asarray(image)}
    pipeline = (Flip(), ShiftedCrop(2), Normalise())
    result = jax.jit(lambda key, b: apply_all(pipeline, key, b))(KEY, batch)
    expected = batch
    for position, augmentation in enumerate(pipeline):
        expected = jax.jit(augmentation)(jax.random.fold_in(KEY, position), expected)
    np.testing.assert_allclose(result["image"], expected["image"], rtol=1e-6, atol=1e-6)
    twice = jax.jit(lambda key, b: apply_all((Flip(), Flip()), key, b))(KEY, batch)
    assert np.any(np.asarray(twice["image"]) != image)


@pytest.mark.parametrize("augmentation", [Flip(), ShiftedCrop(2), Cutout(3)])
def test_the_same_key_draws_the_same_and_another_key_does_not(augmentation):
    image = images(size=64)
    np.testing.assert_array_equal(run(augmentation, image), run(augmentation, image))
    assert np.any(run(augmentation, image) != run(augmentation, image, jax.random.key(4)))
    assert augmentation.random


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(1.5), "probability=1.5"),
        (lambda: ShiftedCrop(mode="reflct"), "did you mean 'reflect'"),
        (lambda: ShiftedCrop(-1), "padding=-1"),
        (lambda: run(ShiftedCrop(7), images()), "cannot reflect padding=7"),
        (lambda: Normalise(std=(0.0,)), "must be positive"),
        (lambda: run(Normalise(mean=(1.0, 2.0)), images()), "2 values, the images have 3"),
        (lambda: Cutout(0), "size=0"),
        (lambda: Flip()(KEY, {"imge": jnp.zeros(3)}), "no 'image'; did you mean 'imge'"),
        (lambda: Flip()(KEY, {"image": jnp.zeros((2, 3))}), r"shape \(2, 3\)"),
    ],
)
def test_a_mistake_names_the_augmentation(make, message):
    with pytest.raises(UserError, match=message):
        make()
