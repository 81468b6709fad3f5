"""DiffAugment against NumPy, image by image, and what is drawn against its distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.tasks.gan import diff_augment as module
from dlresearch.tasks.gan.diff_augment import POLICIES, Colours, diff_augment

# Compiled as a whole: eagerly, each operation of each shape would be compiled by itself.
change_colours, translate = jax.jit(module.change_colours), jax.jit(module.translate)
cut_out = jax.jit(module.cut_out)
draw_colours = jax.jit(module.draw_colours, static_argnums=1)
draw_places, draw_shifts = (
    jax.jit(draw, static_argnums=(1, 2, 3)) for draw in (module.draw_places, module.draw_shifts)
)

KEY = jax.random.key(7)
MANY = 4000  # draws; the key is fixed, so that tests of chance always give the same


def noise(count=5, height=8, width=12, channels=3):
    return np.random.default_rng(1).uniform(-1, 1, (count, height, width, channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_those_of_the_formula(channels):
    images = noise(channels=channels)
    drawn = draw_colours(KEY, len(images))
    changed = change_colours(jnp.asarray(images, jnp.float32), drawn)
    for i, image in enumerate(images):
        brightness, saturation, contrast = (float(each[i]) for each in drawn)
        image = image + brightness
        grey = image.mean(axis=-1, keepdims=True)
        image = (image - grey) * saturation + grey
        image = (image - image.mean()) * contrast + image.mean()
        # Values up to 5, and a mean over all pixels, in float32.
        np.testing.assert_allclose(changed[i], image, rtol=1e-5, atol=1e-5)


def test_colours_that_change_nothing_do_so():
    images = jnp.asarray(noise(), jnp.float32)
    same = Colours(jnp.zeros(5), jnp.ones(5), jnp.ones(5))
    np.testing.assert_allclose(change_colours(images, same), images, atol=1e-5)


def test_translation_is_a_crop_of_the_image_padded_with_zeros():
    images = noise().astype(np.float32)
    shift = np.array([[0, 0], [1, -2], [-1, 2], [8, 0], [-3, -12]])
    moved = translate(jnp.asarray(images), jnp.asarray(shift))
    for i, (down, right) in enumerate(shift):
        padded = np.pad(images[i], ((12, 12), (12, 12), (0, 0)))
        expected = padded[12 - down : 20 - down, 12 - right : 24 - right]
        np.testing.assert_array_equal(moved[i], expected)


def test_translation_goes_back_where_it_came_from():
    """<translate(x), y> = <x, slope>, for its slope and for the slope of that."""
    images, others = (jnp.asarray(noise()[i : i + 4], jnp.float32) for i in (0, 1))
    shift = jnp.array([[0, 1], [2, -2], [-1, 0], [-1, 3]])

    def product(x, y):
        return jnp.sum(translate(x, shift) * y)

    slope = jax.jit(jax.grad(product))(images, others)
    assert jnp.sum(slope * images) == pytest.approx(float(product(images, others)), rel=1e-5)
    again = jax.jit(jax.grad(lambda y: jnp.sum(jax.grad(product)(images, y) * images)))(others)
    np.testing.assert_allclose(again, translate(images, shift), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 9)])
def test_cutout_is_a_hole_of_half_the_sides(height, width):
    images = noise(MANY, height, width, 1)
    place = np.asarray(draw_places(KEY, MANY, height, width))
    changed = np.asarray(cut_out(jnp.asarray(images), jnp.asarray(place)))
    sides = (int(height / 2 + 0.5), int(width / 2 + 0.5))
    for image, result, (row, column) in zip(images[:50], changed, place, strict=False):
        expected = image.astype(np.float32)
        top, left = row - sides[0] // 2, column - sides[1] // 2
        expected[max(0, top) : max(0, top + sides[0]), max(0, left) : max(0, left + sides[1])] = 0
        np.testing.assert_array_equal(result, expected)
    # Every middle comes, those on the border as often as others.
    for axis, (size, side) in enumerate(zip((height, width), sides, strict=True)):
        counts = np.bincount(place[:, axis], minlength=size + 1 - side % 2)
        mean = MANY / len(counts)
        assert np.all(np.abs(counts - mean) < 5 * np.sqrt(mean))


def test_numbers_are_drawn_as_published():
    brightness, saturation, contrast = draw_colours(KEY, MANY)
    for values, low, high in ((brightness, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5)):
        assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high
        # Five standard deviations of the mean of an even distribution.
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * MANY)
    assert abs(np.corrcoef([brightness, saturation, contrast])[np.triu_indices(3, 1)]).max() < 0.08
    shift = np.asarray(draw_shifts(KEY, MANY, 32, 16))
    assert set(shift[:, 0]) == set(range(-4, 5)) and set(shift[:, 1]) == set(range(-2, 3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", [*((name,) for name in POLICIES), POLICIES])
def test_every_image_draws_its_own_numbers_from_the_key(policy, channels):
    images = jnp.asarray(np.repeat(noise(1, 16, 16, channels), 8, axis=0), jnp.float32)
    augment = jax.jit(diff_augment, static_argnums=2)
    first, again = augment(KEY, images, policy), augment(KEY, images, policy)
    np.testing.assert_array_equal(first, again)
    assert first.shape == images.shape and first.dtype == jnp.float32
    assert len(np.unique(first, axis=0)) > 4
    assert np.any(first != augment(jax.random.key(8), images, policy))


def test_slopes_are_those_of_finite_differences():
    images, weight = (jnp.asarray(noise()[i : i + 2], jnp.float32) for i in (0, 2))

    @jax.jit
    def loss(images):
        return jnp.sum(weight * diff_augment(KEY, images, POLICIES))

    slope, step = jax.jit(jax.grad(loss))(images), jnp.asarray(noise()[3:], jnp.float32)
    # Linear in the images but for what is drawn: a wide step has no error but of rounding.
    difference = (loss(images + step) - loss(images - step)) / 2
    assert jnp.sum(slope * step) == pytest.approx(float(difference), rel=1e-4)


def test_no_policy_changes_nothing():
    images = jnp.asarray(noise(), jnp.float32)
    np.testing.assert_array_equal(diff_augment(KEY, images, ()), images)


@pytest.mark.parametrize(
    ("policy", "message"),
    [(("color",), "'color'; did you mean 'colour'"), ("cutouts", "'cutouts'.*'cutout'")],
)
def test_an_unknown_policy_is_named(policy, message):
    with pytest.raises(UserError, match=message):
        diff_augment(KEY, jnp.zeros((1, 4, 4, 1)), policy)
