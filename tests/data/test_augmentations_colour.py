"""Changes of colour against Pillow and Matplotlib, and what is drawn against its formula."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
import scipy.stats
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from dlresearch.data.augmentations import (
    Autocontrast,
    ColourJitter,
    Equalise,
    Grayscale,
    Normalise,
    Posterise,
    RandAugment,
    Solarise,
)
from dlresearch.data.augmentations.colour import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    grey,
    jitter,
    turn_hue,
)
from dlresearch.data.augmentations.rand_augment import Change, apply_changes, smooth
from dlresearch.data.augmentations.tones import autocontrast, equalise, posterise, solarise
from dlresearch.errors import UserError
from helpers.data.pictures import KEY, levels_apart, noise, photographs, pillow, run

MANY = 4000  # draws; the keys are fixed, so that tests of chance always give the same
FACTORS = np.array([0.0, 0.3, 0.6, 0.9, 1.0, 1.2, 1.6, 1.9], np.float32)
ENHANCERS = {
    BRIGHTNESS: ImageEnhance.Brightness,
    CONTRAST: ImageEnhance.Contrast,
    SATURATION: ImageEnhance.Color,
}


def as_levels(image):
    return jnp.asarray(image, jnp.float32)


def difficult():
    """A photograph, noise, one level, two levels, few levels, a line, a channel without change."""
    images = np.concatenate(
        [photographs(2), noise(1, 40, 56), np.full((5, 40, 56, 3), 7, np.uint8)]
    )
    images[4, :20] = 200
    images[5] = images[2] // 64
    images[6, 0] = np.arange(56)[:, None]
    images[7, ..., 1] = images[0, ..., 1]
    return images


@pytest.mark.parametrize("change", ENHANCERS)
def test_factors_are_those_of_pillow(change):
    image = photographs()
    amounts = np.zeros((8, 4), np.float32)
    amounts[:, change] = FACTORS
    jittered = jax.jit(partial(jitter, has_hue=True))
    result = jittered(as_levels(image), np.full(8, change), amounts)
    expected = pillow(lambda i, factor: ENHANCERS[change](i).enhance(factor), image, FACTORS)
    # Pillow rounds the mean or the grey pixel to a level, and cuts off what is left of one.
    assert levels_apart(jnp.round(result), expected).max() <= (1 if change == BRIGHTNESS else 2)
    assert np.mean(np.asarray(result) - expected) == pytest.approx(0.5, abs=0.5)


def turned(image, turns):
    """The same by HSV, in float64."""
    hsv = matplotlib.colors.rgb_to_hsv(np.asarray(image, np.float64) / 255)
    hsv[..., 0] = (hsv[..., 0] + turns) % 1
    return 255 * matplotlib.colors.hsv_to_rgb(hsv)


def test_hue_is_turned_as_in_hsv():
    image, turns = photographs().copy(), np.linspace(-0.5, 0.5, 8)
    image[0, 0] = 9  # grey has no hue
    image[1, 0] = (255, 0, 0)
    result = jax.jit(turn_hue)(as_levels(image), np.float32(turns)[:, None, None, None])
    expected = np.stack([turned(each, turn) for each, turn in zip(image, turns, strict=True)])
    np.testing.assert_allclose(result, expected, atol=2e-3)


def enhanced(image, change, amount):
    """One change in float64."""
    if change == HUE:
        return turned(image, amount)
    luma = (image @ [0.299, 0.587, 0.114])[..., None]
    base = {BRIGHTNESS: 0.0, CONTRAST: luma.mean(), SATURATION: luma}[change]
    return np.clip(base + amount * (image - base), 0, 255)


def test_colour_jitter_makes_the_changes_it_draws_in_their_order():
    image, augmentation = photographs(), ColourJitter(0.8, 0.8, 0.8, 0.4, probability=1.0)
    draw_key, _ = jax.random.split(KEY)
    orders, amounts = augmentation.draw(draw_key, 8)
    expected = []
    for each, order, amount in zip(image, np.asarray(orders), np.asarray(amounts), strict=True):
        changed = each.astype(np.float64)
        for change in order:
            changed = enhanced(changed, change, float(amount[change]))
        expected.append(changed)
    assert np.abs(run(augmentation, image) - np.stack(expected)).max() < 0.52
    # The same on normalised images.
    floats = run(Normalise(), image)
    normalised = ColourJitter(0.8, 0.8, 0.8, 0.4, probability=1.0, black=(-1,), white=(1,))
    np.testing.assert_allclose(
        127.5 + 127.5 * run(normalised, floats), np.stack(expected), atol=0.02
    )


def test_colour_jitter_draws_amounts_and_orders_evenly():
    order, amounts = ColourJitter(0.5, 1.5, 0.2, 0.1).draw(KEY, MANY)
    limits = {BRIGHTNESS: (0.5, 1.5), CONTRAST: (0, 2.5), SATURATION: (0.8, 1.2), HUE: (-0.1, 0.1)}
    for change, (low, high) in limits.items():
        drawn = np.asarray(amounts[:, change])
        assert scipy.stats.kstest(drawn, scipy.stats.uniform(low, high - low).cdf).pvalue > 0.01
    orders, counts = np.unique(np.asarray(order), axis=0, return_counts=True)
    assert {tuple(each) for each in orders} == set(itertools.permutations(range(4)))
    assert scipy.stats.chisquare(counts).pvalue > 0.01
    order, _ = ColourJitter(0.5, 0, 0.2, 0).draw(KEY, 100)
    assert {tuple(each) for each in np.asarray(order)} == {(0, 2), (2, 0)}


def test_grayscale_is_that_of_pillow():
    image = photographs()
    expected = pillow(lambda i: i.convert("L"), image)
    result = run(Grayscale(probability=1.0), image)
    assert levels_apart(result, expected[..., None]).max() <= 1  # Pillow has fixed-point weights
    one = noise(channels=1)
    np.testing.assert_array_equal(run(Grayscale(probability=1.0), one), one)


def test_colours_of_grey_images_stay_grey():
    one, three = photographs()[..., :1], np.repeat(photographs()[..., :1], 3, axis=-1)
    jittered = [run(ColourJitter(0.8, 0.8, 0.8, 0.4), image) for image in (one, three)]
    assert levels_apart(*jittered).max() <= 1  # the weights of the three add up to 1 only nearly


TONES = {
    "solarise": (lambda x, n: solarise(x, n), ImageOps.solarize, (1, 60, 128, 200, 255), 0),
    "posterise": (lambda x, n: posterise(x, jnp.int32(n)), ImageOps.posterize, range(1, 9), 0),
    # Pillow cuts off fractions.
    "autocontrast": (lambda x, n: autocontrast(x), lambda i, n: ImageOps.autocontrast(i), (0,), 1),
    "equalise": (lambda x, n: equalise(x), lambda i, n: ImageOps.equalize(i), (0,), 0),
}


@pytest.mark.parametrize("name", TONES)
def test_tones_are_those_of_pillow(name):
    change, expected, numbers, allowed = TONES[name]
    image, change = difficult(), jax.jit(change)
    for number in numbers:
        result = change(as_levels(image), number)
        wanted = pillow(lambda i, number=number: expected(i, number), image)
        assert levels_apart(jnp.round(result), wanted).max() <= allowed, number


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (Solarise, lambda x: solarise(x, 128.0)),
        (Posterise, lambda x: posterise(x, jnp.int32(4))),
        (Autocontrast, autocontrast),
        (Equalise, equalise),
        (Grayscale, lambda x: jnp.broadcast_to(grey(x), x.shape)),
    ],
)
def test_a_change_comes_as_often_as_it_should_and_at_the_right_levels(make, change):
    image = np.repeat(photographs(2), 500, axis=0)
    expected = jax.jit(change)(as_levels(image[::500]))
    result = run(make(probability=0.4), image)
    same = np.all(result == image, axis=(1, 2, 3))
    changed = np.all(result == np.repeat(np.round(expected), 500, axis=0), axis=(1, 2, 3))
    assert np.all(same ^ changed)
    assert abs(changed.mean() - 0.4) < 0.078  # 1,000 draws: five standard deviations
    # As float32 with a black and a white of its own in each channel.
    black, white = np.array([-2.0, -1.0, 0.0]), np.array([2.0, 3.0, 1.0])
    stored = (black + (white - black) * (photographs(2) / 255)).astype(np.float32)
    result = run(make(probability=1.0, black=(-2, -1, 0), white=(2, 3, 1)), stored)
    back = 255 * (result - black) / (white - black)
    # What is 128 but for rounding may count as less than that.
    apart = np.abs(back - np.asarray(expected))
    assert np.mean(apart < 0.01) > (0.97 if make in (Solarise, Posterise) else 0.9999)


def test_sharpness_has_the_base_of_pillow():
    image = photographs()
    expected = pillow(lambda i: i.filter(ImageFilter.SMOOTH), image)
    assert levels_apart(jnp.round(jax.jit(smooth)(as_levels(image))), expected).max() <= 1
    tiny = noise(2, 2, 9)
    np.testing.assert_array_equal(smooth(as_levels(tiny)), tiny)


def by_pillow(image, change, strength):
    """RandAugment's changes as its authors and torchvision write them for Pillow."""
    width, height = image.size
    size = abs(strength)

    def mapped(*data):
        return image.transform(image.size, Image.Transform.AFFINE, data, fillcolor=(9, 9, 9))

    return {
        Change.IDENTITY: lambda: image,
        Change.SHEAR_X: lambda: mapped(1, 0.3 * strength, 0, 0, 1, 0),
        Change.SHEAR_Y: lambda: mapped(1, 0, 0, 0.3 * strength, 1, 0),
        Change.TRANSLATE_X: lambda: mapped(1, 0, int(150 / 331 * width * strength), 0, 1, 0),
        Change.TRANSLATE_Y: lambda: mapped(1, 0, 0, 0, 1, int(150 / 331 * height * strength)),
        Change.ROTATE: lambda: image.rotate(-30 * strength, fillcolor=(9, 9, 9)),
        Change.BRIGHTNESS: lambda: ImageEnhance.Brightness(image).enhance(1 + 0.9 * strength),
        Change.SATURATION: lambda: ImageEnhance.Color(image).enhance(1 + 0.9 * strength),
        Change.CONTRAST: lambda: ImageEnhance.Contrast(image).enhance(1 + 0.9 * strength),
        Change.SHARPNESS: lambda: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength),
        Change.POSTERISE: lambda: ImageOps.posterize(image, 8 - round(4 * size)),
        Change.SOLARISE: lambda: ImageOps.solarize(image, 255 * (1 - size)),
        Change.AUTOCONTRAST: lambda: ImageOps.autocontrast(image),
        Change.EQUALISE: lambda: ImageOps.equalize(image),
    }[change]()


STRENGTHS = np.array([-1.0, -0.8, -0.3, -0.1, 0.15, 0.3, 0.7, 1.0], np.float32)


@pytest.mark.parametrize("change", list(Change), ids=lambda change: change.name)
def test_changes_of_rand_augment_are_those_of_pillow(change):
    image = photographs()
    # By the way the others are in the batch as well, and must not come into its way.
    changes = jnp.concatenate([jnp.full(8, change), jnp.array(list(Change))])
    strengths = jnp.concatenate([jnp.asarray(STRENGTHS), jnp.full(len(Change), 0.5)])
    batch = as_levels(np.concatenate([image, photographs(len(Change))]))
    result = jnp.round(jax.jit(apply_changes)(batch, changes, strengths, 9.0)[:8])
    expected = pillow(lambda i, strength: by_pillow(i, change, strength), image, STRENGTHS)
    apart = levels_apart(result, expected).max(axis=-1)
    blends = (Change.SATURATION, Change.CONTRAST, Change.SHARPNESS)
    cut_off = (Change.BRIGHTNESS, Change.AUTOCONTRAST)
    allowed = 2 if change in blends else int(change in cut_off)
    # A place between two pixels can round to either.
    tolerated = 0.002 if change in (Change.SHEAR_X, Change.SHEAR_Y, Change.ROTATE) else 0
    assert np.mean(apart > allowed) <= tolerated


def test_rand_augment_draws_all_changes_evenly_and_both_sides():
    changes, strengths = RandAugment(num_ops=3, magnitude=12).draw(KEY, MANY)
    assert changes.shape == strengths.shape == (3, MANY)
    for layer in np.asarray(changes):
        assert scipy.stats.chisquare(np.bincount(layer, minlength=14)).pvalue > 0.01
    assert set(np.unique(strengths)) == {np.float32(-0.4), np.float32(0.4)}
    assert abs(np.mean(np.asarray(strengths) > 0) - 0.5) < 0.023  # five standard deviations
    assert abs(np.corrcoef(changes)[0, 1]) < 0.08


@pytest.mark.parametrize("num_ops", [1, 3])
def test_rand_augment_makes_the_changes_it_draws_one_after_another(num_ops):
    image = photographs(24)
    result = run(RandAugment(num_ops, 15), image)
    draw_key, _ = jax.random.split(KEY)
    changes, strengths = RandAugment(num_ops, 15).draw(draw_key, 24)
    expected = as_levels(image)
    for change, strength in zip(changes, strengths, strict=True):
        expected = jnp.round(jax.jit(apply_changes)(expected, change, strength, 0.0))
    # Rounding between may differ where all is compiled together, and equalising shows it.
    assert np.mean(levels_apart(result, expected) > 0) < 0.01
    as_float = RandAugment(num_ops, 15, black=(0,), white=(1,))
    if num_ops == 1:
        result = 255 * run(as_float, (image / 255).astype(np.float32))
        assert np.mean(np.abs(result - np.asarray(expected)) > 0.51) < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ColourJitter(-1), "colour_jitter: brightness, contrast, saturation or hue is neg"),
        (lambda: ColourJitter(hue=0.7), "hue=0.7 is more than half of the circle"),
        (lambda: ColourJitter(probability=2), "colour_jitter: probability=2"),
        (lambda: ColourJitter(black=(0,)), "give both black and white, or neither"),
        (lambda: run(ColourJitter(), noise(channels=2)), "images have 2 channels; colours need 1"),
        (lambda: run(Solarise(), noise(dtype=np.float32)), "images are float32 here; set black an"),
        (
            lambda: run(Solarise(black=(0, 0), white=(1, 1)), noise(dtype=np.float32)),
            "solarise: black has 2 values, the images have 3 channels",
        ),
        (lambda: Solarise(threshold=300), "threshold=300"),
        (lambda: Posterise(bits=0), r"bits=0 is not in \[1, 8\]"),
        (lambda: Grayscale(probability=-1), "grayscale: probability=-1"),
        (lambda: RandAugment(num_ops=0), "num_ops=0"),
        (lambda: RandAugment(magnitude=31), r"magnitude=31 is not in \[0, 30\]"),
        (lambda: RandAugment(fill=-1), r"fill=-1 is not in \[0, 255\]"),
    ],
)
def test_a_mistake_names_the_augmentation(make, message):
    with pytest.raises(UserError, match=message):
        make()
