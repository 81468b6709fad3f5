"""What all augmentations promise, and how they are applied one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.data.augmentations import Flip, Normalise, ShiftedCrop, apply_all
from dlresearch.errors import UserError
from helpers.data.augment_on_devices import (
    OF_IMAGES,
    PHOTOMETRIC,
    augmented_on_eight_devices,
    batch_of,
    make,
)
from helpers.data.pictures import KEY, noise, run
from helpers.processes import on_eight_devices

TYPES = (np.uint8, np.float32)
RANDOM = [name for name in OF_IMAGES if name not in ("normalise", "alternating_flip")]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", RANDOM)
def test_every_image_draws_its_own_numbers_from_the_key(name, dtype):
    """The same image many times: a key gives the same results again, but not to all of them."""
    image = np.repeat(noise(1, 20, 18), 64, axis=0)
    if name in ("mixup", "cutmix"):
        image[::2] = noise(2, 20, 18)[1]  # mixed with itself, an image stays the same
    batch, augment = batch_of(image, dtype), jax.jit(make(name, dtype))
    assert make(name, dtype).random
    first, again, other = (
        augment(KEY, batch),
        augment(KEY, batch),
        augment(jax.random.key(4), batch),
    )
    changed = np.asarray(first["image"])
    assert changed.dtype == dtype and changed.shape == image.shape
    assert np.all(np.isfinite(changed))
    np.testing.assert_array_equal(changed, again["image"])
    assert np.any(changed != other["image"])
    assert len(np.unique(changed[::2], axis=0)) > 1
    for key, values in batch.items():
        if key not in ("image", "label") or (key == "label" and name not in ("mixup", "cutmix")):
            np.testing.assert_array_equal(first[key], values)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", [n for n in RANDOM if hasattr(make(n), "probability")])
def test_what_comes_with_probability_0_never_comes(name, dtype):
    component = make(name, dtype)
    component.probability = 0.0
    image = noise(16, 12, 10, dtype=dtype)
    result = jax.jit(component)(KEY, batch_of(image, dtype))
    np.testing.assert_array_equal(result["image"], image)
    if name in ("mixup", "cutmix"):
        np.testing.assert_array_equal(result["label"], np.eye(10)[np.arange(16) % 10])


# Not `shifted_crop`: a pixel cannot be reflected.
@pytest.mark.parametrize(
    ("name", "channels"),
    [(name, 1) for name in OF_IMAGES if name != "shifted_crop"]
    + [(name, 3) for name in PHOTOMETRIC],  # the others do not ask for colors
)
def test_images_of_one_pixel_and_of_one_channel_are_images(name, channels):
    image = noise(3, 1, 1, channels)
    result = jax.jit(make(name))(KEY, batch_of(image))["image"]
    assert result.shape == image.shape and np.all(np.isfinite(result))


@pytest.mark.slow
def test_devices_augment_the_rows_they_have():
    """And get the images that one device would; only those that mix send a row to the next one."""
    found = on_eight_devices(augmented_on_eight_devices)
    assert found.keys() == set(OF_IMAGES)
    for name, one in found.items():
        # Of a place between two pixels either can be taken. An image that drew other numbers would
        # be one of 16, or 6 % of the values.
        assert one["differ"] < 1e-3, name
        rows = ["u8[1,20,18,3]", "f32[1,10]"] if name in ("mixup", "cutmix") else []
        assert sorted(sent.partition("{")[0] for sent in one["sent"]) == sorted(rows), name


def test_normalise_is_its_formula_in_float64():
    image = noise()
    expected = (image.astype(np.float64) / 255 - [0.4, 0.5, 0.6]) / [0.1, 0.2, 0.3]
    result = run(Normalise(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)), image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    ends = run(Normalise(), np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    np.testing.assert_allclose(ends.ravel(), [-1, 1], rtol=1e-6)


def test_apply_all_gives_each_augmentation_a_key_of_its_own():
    image = noise(64)
    batch = {"image": jnp.asarray(image)}
    pipeline = (Flip(), ShiftedCrop(2), Normalise())
    result = jax.jit(lambda key, b: apply_all(pipeline, key, b))(KEY, batch)
    expected = batch
    for position, augmentation in enumerate(pipeline):
        expected = jax.jit(augmentation)(jax.random.fold_in(KEY, position), expected)
    np.testing.assert_allclose(result["image"], expected["image"], rtol=1e-6, atol=1e-6)
    twice = jax.jit(lambda key, b: apply_all((Flip(), Flip()), key, b))(KEY, batch)
    assert np.any(np.asarray(twice["image"]) != image)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalise(std=(0.0,)), "must be positive"),
        (lambda: run(Normalise(mean=(1.0, 2.0)), noise()), "2 values, the images have 3"),
        (
            lambda: apply_all((Flip(),), KEY, {}),
            r"config.data.augmentations.0: flip: the batch has",
        ),
    ],
)
def test_a_mistake_names_the_augmentation(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("name", ["mean", "std"])
def test_normalise_does_not_make_colors_of_gray(name):
    """Three numbers for one channel would broadcast to images of three."""
    message = f"normalise: {name} has 3 values, the images have 1 channels"
    with pytest.raises(UserError, match=message):
        run(Normalise(**{name: (0.1, 0.2, 0.3)}), noise()[..., :1])
