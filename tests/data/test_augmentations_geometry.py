"""Crops, affine maps and blur against Pillow and SciPy, and what is drawn against its formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from PIL import Image

from dlresearch.data.augmentations import (
    Affine,
    AlternatingFlip,
    Cutout,
    Erasing,
    Flip,
    GaussianBlur,
    RandomResizedCrop,
    ShiftedCrop,
    blur,
    boxes,
    crops,
)
from dlresearch.data.augmentations import affine as affine_maps
from dlresearch.errors import UserError
from helpers.data.pictures import KEY, levels_apart, noise, photographs, pillow, run

# Compiled as a whole: eagerly, each operation of each shape would be compiled by itself.
about_middle = jax.jit(affine_maps.about_middle, static_argnums=(4, 5))
affine = jax.jit(affine_maps.affine, static_argnums=(2, 3))
gaussian_blur = jax.jit(blur.gaussian_blur)
draw_boxes = jax.jit(boxes.draw_boxes, static_argnums=(1, 2, 3, 4))
inside = jax.jit(boxes.inside, static_argnums=(1, 2))
resized_crop = jax.jit(crops.resized_crop, static_argnums=2)


def drawn_by(augmentation, count, height, width, key=KEY):
    return np.asarray(
        jax.jit(augmentation.draw, static_argnums=(1, 2, 3))(key, count, height, width)
    )


TYPES = (np.uint8, np.float32)
MANY = 4000  # draws; the keys are fixed, so that tests of chance always give the same


@pytest.mark.parametrize("dtype", TYPES)
def test_flip_mirrors_each_image_by_itself_or_not_at_all(dtype):
    image = noise(1000, dtype=dtype)
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


def test_alternating_flip_shows_each_example_both_ways_in_two_epochs():
    image, example = noise(1000), jnp.arange(1000, dtype=jnp.int32)
    flip, keys = AlternatingFlip(), jax.random.split(KEY, 4)
    epochs = [
        run(flip, image, key, example=example, epoch=jnp.full(1000, epoch))
        for epoch, key in enumerate(keys)
    ]
    first = np.any(epochs[0] != image, axis=(1, 2, 3))
    assert abs(first.mean() - 0.5) < 0.079  # five standard deviations
    for epoch, seen in enumerate(epochs):
        mirrored = (first ^ bool(epoch % 2))[:, None, None, None]
        np.testing.assert_array_equal(seen, np.where(mirrored, image[:, :, ::-1], image))
    # In another order, and in the middle of a batch that runs over the end of an epoch.
    order = np.random.default_rng(0).permutation(1000)
    epoch = np.arange(1000) >= 300
    seen = run(flip, image[order], example=example[order], epoch=jnp.int32(epoch))
    mirrored = (first[order] ^ epoch)[:, None, None, None]
    np.testing.assert_array_equal(seen, np.where(mirrored, image[order][:, :, ::-1], image[order]))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("zeros", "constant")])
def test_shifted_crop_is_a_crop_of_the_padded_image(dtype, mode, numpy_mode):
    image, padding = noise(dtype=dtype), 2
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


# Larger, smaller, a mere line, the whole; to both larger and smaller sizes.
BOXES = np.array(
    [
        (0, 0, 40, 56),
        (3, 7, 21, 33),
        (39, 0, 1, 56),
        (0, 55, 40, 1),
        (10, 20, 2, 3),
        (5, 5, 32, 48),
        (1, 2, 37, 41),
        (20, 28, 20, 28),
    ]
)


@pytest.mark.parametrize("size", [(40, 56), (16, 16), (70, 24), (1, 3)])
def test_resized_crop_is_that_of_pillow(size):
    def crop(image, box):
        top, left, height, width = box
        part = image.crop((left, top, left + width, top + height))
        return part.resize(size[::-1], Image.Resampling.BILINEAR)

    image = photographs()
    result = resized_crop(jnp.asarray(image), jnp.asarray(BOXES), size)
    assert result.dtype == np.uint8
    # Pillow rounds between the axes as well, and to 8 bits; here it is once, to the nearest.
    assert levels_apart(result, pillow(crop, image, BOXES)).max() <= 1
    grey = image[..., 0].astype(np.float32)
    result = resized_crop(jnp.asarray(grey[..., None]), jnp.asarray(BOXES), size)
    np.testing.assert_allclose(result[..., 0], pillow(crop, grey, BOXES), atol=1e-3)


def torchvision_box(rng, height, width, area, ratio):
    """`RandomResizedCrop.get_params` of torchvision, without its way out."""
    for _ in range(10):
        pixels = height * width * rng.uniform(*area)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_width, box_height = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = rng.integers(0, height - box_height + 1)
            return top, rng.integers(0, width - box_width + 1), box_height, box_width
    return None


@pytest.mark.parametrize(
    ("within", "area", "ratio"),
    [((64, 64), (0.08, 1.0), (3 / 4, 4 / 3)), ((30, 50), (0.02, 0.33), (0.3, 3.3))],
)
def test_boxes_are_drawn_as_in_torchvision(within, area, ratio):
    seen, found = draw_boxes(KEY, MANY, within, area, ratio)
    rng = np.random.default_rng(0)
    expected = [torchvision_box(rng, *within, area, ratio) for _ in range(MANY)]
    assert np.mean(np.asarray(found)) > 0.99
    seen = np.asarray(seen)[np.asarray(found)]
    expected = np.array([box for box in expected if box is not None])
    assert np.all(seen[:, :2] >= 0) and np.all(seen[:, 2:] > 0)
    assert np.all(seen[:, :2] + seen[:, 2:] <= within)
    for column in range(4):
        assert scipy.stats.ks_2samp(seen[:, column], expected[:, column]).pvalue > 0.01
    areas = [each[:, 2] * each[:, 3] for each in (seen, expected)]
    assert scipy.stats.ks_2samp(*areas).pvalue > 0.01


def test_where_no_crop_fits_it_is_what_fits_of_the_middle():
    crop = RandomResizedCrop(area=(1.0, 1.0))
    # All of a wide image has a ratio of 4, and what is drawn is at most 4 / 3.
    np.testing.assert_array_equal(drawn_by(crop, 5, 30, 120), [[0, 40, 30, 40]] * 5)
    np.testing.assert_array_equal(drawn_by(crop, 5, 120, 30), [[40, 0, 40, 30]] * 5)


def test_random_resized_crop_shows_the_boxes_it_draws():
    image = photographs()
    crop = RandomResizedCrop(size=(24, 32))
    result = run(crop, image)
    box_key, _ = jax.random.split(KEY)
    drawn = drawn_by(crop, *image.shape[:3], key=box_key)
    # Compiled by itself it rounds the same but for a value in the middle between two levels.
    expected = resized_crop(jnp.asarray(image), drawn, (24, 32))
    assert levels_apart(result, expected).max() <= 1
    assert np.mean(result != expected) < 0.001
    some = run(RandomResizedCrop(probability=0.5), np.repeat(image, 20, axis=0))
    unchanged = np.all(some == np.repeat(image, 20, axis=0), axis=(1, 2, 3)).mean()
    assert abs(unchanged - 0.5) < 0.2  # 160 draws: five standard deviations


MATRICES = np.array(
    [
        [[1, 0, 0], [0, 1, 0]],
        [[1, 0, 5], [0, 1, -7]],
        [[0.8, 0.31, -3.3], [-0.27, 1.1, 4.4]],
        [[1, 0.3, 0], [0, 1, 0]],
        [[1, 0, 0], [-0.3, 1, 0]],
        [[0.5, 0, 10.2], [0, 2.5, -9.1]],
        [[-1, 0, 56], [0, 1, 0]],
        [[0.91, 0.42, 1.3], [-0.42, 0.91, 2.7]],
    ]
)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_affine_map_is_that_of_pillow(interpolation):
    def transform(image, matrix):
        method = Image.Resampling[interpolation.upper()]
        data = tuple(matrix.ravel())
        return image.transform(
            image.size, Image.Transform.AFFINE, data, method, fillcolor=(9, 9, 9)
        )

    image = photographs()
    matrix = jnp.asarray(MATRICES, jnp.float32)
    result = affine(jnp.asarray(image), matrix, 9.0, interpolation)
    assert result.dtype == np.uint8
    apart = levels_apart(result, pillow(transform, image, MATRICES)).max(axis=-1)
    # A place between two pixels, or at the border, can round to either.
    assert np.mean(apart > (interpolation == "bilinear")) < 0.002
    as_float = affine(jnp.asarray(image, jnp.float32), matrix, 9.0, interpolation)
    # Half a level, and the rounding of weights that are differences of places up to 64: 2^-18.
    np.testing.assert_allclose(as_float, result, atol=0.5 + 255 * 2**-18)


def test_affine_matrices_are_the_inverse_of_shear_rotate_scale_move():
    rng = np.random.default_rng(0)
    height, width, count = 40, 56, 20
    angle, shear = rng.uniform(-3, 3, count), rng.uniform(-1, 1, count)
    scale, move = rng.uniform(0.5, 2, count), rng.uniform(-9, 9, (count, 2))
    result = about_middle(*map(jnp.asarray, (angle, shear, scale, move)), height, width)
    for i in range(count):
        cos, sin = math.cos(angle[i]), math.sin(angle[i])
        forward = scale[i] * np.array([[cos, -sin], [sin, cos]])
        forward = forward @ np.array([[1, -math.tan(shear[i])], [0, 1]])
        middle, down_right = np.array([width / 2, height / 2]), move[i]
        point = rng.uniform(0, 40, 2)
        moved = middle + forward @ (point - middle) + down_right[::-1]
        np.testing.assert_allclose(np.asarray(result[i]) @ [*moved, 1], point, atol=2e-4)


def test_affine_draws_evenly_between_its_limits():
    height, width = 40, 56
    augmentation = Affine(30, (0.1, 0.2), (0.8, 1.5), shear=20)
    matrices = drawn_by(augmentation, MANY, height, width).astype(np.float64)
    linear = matrices[:, :, :2]
    scale = 1 / np.sqrt(np.linalg.det(linear))
    forward = np.linalg.inv(linear * scale[:, None, None])  # rotation @ shear
    angle = np.degrees(np.arctan2(forward[:, 1, 0], forward[:, 0, 0]))
    shear = np.degrees(np.arctan(-np.einsum("bi,bi->b", forward[:, :, 0], forward[:, :, 1])))
    middle = np.array([width / 2, height / 2])
    moved = np.linalg.solve(linear, (middle - matrices[:, :, 2])[..., None])[..., 0] - middle
    drawn = {
        "angle": (angle, -30, 30),
        "shear": (shear, -20, 20),
        "scale": (scale, 0.8, 1.5),
        "down": (moved[:, 1], -4, 4),
        "right": (moved[:, 0], -11.2, 11.2),
    }
    for name, (values, low, high) in drawn.items():
        uniform = scipy.stats.uniform(low, high - low)
        assert scipy.stats.kstest(values, uniform.cdf).pvalue > 0.01, name
    independent = np.corrcoef([values for values, *_ in drawn.values()])
    assert np.abs(independent - np.eye(5)).max() < 0.08  # five standard deviations


@pytest.mark.parametrize("shape", [(40, 56), (32, 32)])
def test_gaussian_blur_is_that_of_scipy(shape):
    image = photographs(8, *shape)
    sigma = np.linspace(0.1, 3.0, 8).astype(np.float32)
    expected = np.stack(
        [
            scipy.ndimage.gaussian_filter(
                each.astype(np.float64), (s, s, 0), mode="mirror", radius=(31, 31, 0)
            )
            for each, s in zip(image, sigma, strict=True)
        ]
    )
    as_float = gaussian_blur(jnp.asarray(image, jnp.float32), jnp.asarray(sigma))
    np.testing.assert_allclose(as_float, expected, atol=1e-3)
    whole = gaussian_blur(jnp.asarray(image), jnp.asarray(sigma))
    assert whole.dtype == np.uint8
    assert np.abs(whole - expected).max() < 0.501  # rounded to the nearest


def test_gaussian_blur_draws_another_width_for_each_image():
    point = np.zeros((MANY, 15, 15, 1), np.float32)
    point[:, 7, 7] = 1
    blurred = run(GaussianBlur((0.8, 1.2), probability=0.75), point)[..., 0]
    changed = blurred[:, 7, 7] != 1
    assert abs(changed.mean() - 0.75) < 0.035  # five standard deviations
    # exp(-1 / (2 sigma^2)) is what the next pixel has of the middle.
    ratio = blurred[changed, 7, 8] / blurred[changed, 7, 7]
    sigma = np.sqrt(-0.5 / np.log(ratio))
    assert scipy.stats.kstest(sigma, scipy.stats.uniform(0.8, 0.4).cdf).pvalue > 0.01


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_fills_a_square_around_a_pixel_of_the_image(dtype, size):
    image = noise(512, dtype=dtype)
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


@pytest.mark.parametrize("dtype", TYPES)
def test_erasing_fills_one_box_in_some_images(dtype):
    image = noise(1000, 20, 30, dtype=dtype)
    result = run(Erasing(0.4, fill=0), image)
    assert result.dtype == dtype
    sizes = []
    for before, after in zip(image, result, strict=True):
        hole = np.all(after == 0, axis=-1)
        np.testing.assert_array_equal(after[~hole], before[~hole])
        if hole.any():
            rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert hole.sum() == height * width
            sizes.append((height, width))
    assert abs(len(sizes) / 1000 - 0.4) < 0.078  # five standard deviations
    areas = np.prod(sizes, axis=1) / 600
    # Rounding of both sides can add what they have to half a pixel.
    assert 0.005 < areas.min() < 0.05 and 0.28 < areas.max() < 0.36


@pytest.mark.parametrize("dtype", TYPES)
def test_erasing_by_noise_fills_with_what_is_normal_for_the_type(dtype):
    image = np.full((64, 20, 30, 3), 77, dtype)
    result = run(Erasing(1.0, area=(0.3, 0.3), noise=True), image)
    inside_box = result[result != 77].astype(np.float64)
    if dtype == np.uint8:
        distribution = scipy.stats.uniform(0, 256)
        inside_box += np.random.default_rng(0).uniform(size=inside_box.shape)
        inside_box = inside_box[(inside_box < 77) | (inside_box >= 78)]
        inside_box = np.where(inside_box < 77, inside_box, inside_box - 1) * 256 / 255
    else:
        distribution = scipy.stats.norm()
    assert inside_box.size > 30_000
    assert scipy.stats.kstest(inside_box, distribution.cdf).pvalue > 0.01


def test_a_box_is_where_it_says():
    places = jnp.array([[1, 2, 3, 4], [-2, 5, 4, 9], [0, 0, 0, 5]])
    expected = np.zeros((3, 6, 8), bool)
    expected[0, 1:4, 2:6] = True
    expected[1, 0:2, 5:8] = True
    np.testing.assert_array_equal(inside(places, 6, 8)[..., 0], expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(1.5), "probability=1.5"),
        (lambda: Flip()(KEY, {"imge": jnp.zeros(3)}), "no 'image'; did you mean 'imge'"),
        (lambda: Flip()(KEY, {"image": jnp.zeros((2, 3))}), r"shape \(2, 3\)"),
        (lambda: run(AlternatingFlip(), noise()), "has no 'epoch' and no 'example', which the tra"),
        (lambda: ShiftedCrop(mode="reflct"), "did you mean 'reflect'"),
        (lambda: ShiftedCrop(-1), "padding=-1"),
        (lambda: run(ShiftedCrop(7), noise()), "cannot reflect padding=7"),
        (lambda: RandomResizedCrop((0, 3)), r"size=\(0, 3\) must be at least 1"),
        (lambda: RandomResizedCrop(area=(0.5, 0.2)), r"area=\(0.5, 0.2\): give the lowest and"),
        (lambda: RandomResizedCrop(area=(0.5, 2.0)), "is more than the image"),
        (lambda: RandomResizedCrop(ratio=(0.0, 2.0)), "both above 0"),
        (
            lambda: run(RandomResizedCrop((3, 3), probability=0.5), noise()),
            "some images stay 9 by 7, as probability=0.5",
        ),
        (lambda: Affine(200), r"degrees=200 is not in \[0, 180\]"),
        (lambda: Affine(0, translate=(2.0, 0.0)), "translate"),
        (lambda: Affine(0, scale=(0.0, 1.0)), "scale"),
        (lambda: Affine(0, shear=90), "shear=90"),
        (lambda: GaussianBlur((2.0, 1.0)), "sigma"),
        (lambda: Cutout(0), "size=0"),
        (lambda: Erasing(2), "probability=2"),
        (lambda: Erasing(area=(0.1, 1.5)), "is more than the image"),
    ],
)
def test_a_mistake_names_the_augmentation(make, message):
    with pytest.raises(UserError, match=message):
        make()
