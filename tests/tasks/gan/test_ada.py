"""ADA against NumPy and SciPy in float64, what is drawn against its distribution, and its
controller against a simulation.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.stats
from scipy.spatial.transform import Rotation

from dlresearch.errors import UserError
from dlresearch.tasks.gan import ada, ada_colour, ada_corruptions, ada_filters, ada_geometry
from dlresearch.tasks.gan.ada_colour import Colours
from dlresearch.tasks.gan.ada_filters import (
    SYM2,
    SYM6,
    Bands,
    band_filters,
    downsampling,
    reflected,
    upsampling,
)
from dlresearch.tasks.gan.ada_geometry import Blits, Warps

# Compiled as a whole: eagerly, each operation of each shape would be compiled by itself.
of_blits, of_warps = jax.jit(ada_geometry.of_blits), jax.jit(ada_geometry.of_warps)
blitted, warped = jax.jit(ada_geometry.blitted), jax.jit(ada_geometry.warped)
draw_blits = jax.jit(ada_geometry.draw_blits, static_argnums=(2, 3, 4))
draw_warps = jax.jit(ada_geometry.draw_warps, static_argnums=(2, 3, 4))
draw_colours = jax.jit(ada_colour.draw_colours, static_argnums=2)
change_colours = jax.jit(ada_colour.change_colours)
draw_bands = jax.jit(ada_filters.draw_bands, static_argnums=2)
filter_bands = jax.jit(ada_filters.filter_bands)
draw_noise = jax.jit(ada_corruptions.draw_noise)
draw_holes = jax.jit(ada_corruptions.draw_holes, static_argnums=2)
cut_out = jax.jit(ada_corruptions.cut_out)

KEY = jax.random.key(7)
MANY = 4000  # draws; the key is fixed, so that tests of chance always give the same
EVERYTHING = "bgcfnc"
LIKELY = np.float32(0.9)


def noise(count=4, height=12, width=12, channels=3):
    return np.random.default_rng(1).uniform(-1, 1, (count, height, width, channels))


def single(values):
    return jnp.asarray(values, jnp.float32)


@pytest.mark.parametrize(("taps", "moments"), [(SYM2, 2), (SYM6, 6)])
def test_wavelets_are_orthogonal_with_as_many_vanishing_moments_as_they_should_have(taps, moments):
    """This and a length of twice the moments leave few filters but the tabulated one."""
    taps = np.array(taps)
    assert len(taps) == 2 * moments and taps.sum() == pytest.approx(np.sqrt(2), abs=1e-10)
    for shift in range(0, len(taps), 2):
        assert taps[shift:] @ taps[: len(taps) - shift] == pytest.approx(
            float(shift == 0), abs=1e-10
        )
    place = np.arange(len(taps)) - 5
    for power in range(moments):
        assert taps @ ((-1.0) ** place * place**power) == pytest.approx(0, abs=1e-6)


def test_up_and_down_again_is_no_change():
    image = np.random.default_rng(0).normal(size=9)
    fine = upsampling(9) @ image
    again = downsampling(9) @ np.concatenate([fine[-5:], fine])[: 2 * 9 - 2 + len(SYM6)]
    np.testing.assert_allclose(again, image, atol=1e-6)


@pytest.mark.parametrize("map_images", [blitted, warped])
def test_blits_move_whole_pixels_exactly(map_images):
    image = noise(1)[0].astype(np.float32)
    cases = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 2, 0, 0), (0, 3, 0, 0)]
    cases += [(0, 0, 3, -2), (1, 1, -1, 1)]
    mirrored, quarters, right, down = single(cases).T
    maps = of_blits(Blits(mirrored, quarters, jnp.stack([right, down], axis=1)))
    moved = map_images(jnp.repeat(image[None], len(cases), axis=0), maps)
    for (mirror, turns, to_right, below), result in zip(cases, moved, strict=True):
        expected = np.rot90(image[:, ::-1] if mirror else image, turns)
        expected = np.pad(expected, ((12, 12), (12, 12), (0, 0)), mode="reflect")
        expected = expected[12 - below : 24 - below, 12 - to_right : 24 - to_right]
        np.testing.assert_array_equal(result, expected)


def test_blits_of_images_that_are_not_square_stay_inside():
    image = single(noise(4, 6, 9))
    quarters = jnp.arange(4.0)
    maps = of_blits(Blits(jnp.zeros(4), quarters, jnp.zeros((4, 2))))
    moved = blitted(image, maps)
    np.testing.assert_array_equal(moved[2], image[2, ::-1, ::-1])
    assert moved.shape == image.shape and jnp.all(jnp.isfinite(moved))


def slowly_warped(image, matrix):
    """One channel, by reflection far out, filters of SciPy and its linear interpolation."""
    height, width = image.shape
    far = 30
    padded = np.pad(image, far, mode="reflect")
    for axis in (0, 1):
        padded = scipy.signal.upfirdn(np.sqrt(2) * np.array(SYM6), padded, up=2, axis=axis)
    # Sample 5 lies on the first pixel of what was filtered.
    row, column = (np.arange(2 * size + 10) for size in (height, width))
    y, x = np.meshgrid((row - 5) / 2 - (height - 1) / 2, (column - 5) / 2 - (width - 1) / 2)
    x, y = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in range(2))
    at = [2 * (y + (height - 1) / 2 + far) + 5, 2 * (x + (width - 1) / 2 + far) + 5]
    seen = scipy.ndimage.map_coordinates(padded, at, order=1).T
    down = np.array(SYM6) / np.sqrt(2)
    for axis in (0, 1):
        seen = scipy.ndimage.correlate1d(seen, down, axis=axis, origin=-6, mode="constant")
        seen = seen.take(np.arange(0, seen.shape[axis] - 11, 2), axis=axis)
    return seen


def test_warps_resample_as_published():
    """Against filters and interpolation of SciPy in float64."""
    images = noise(6, 10, 14)
    maps = of_warps(draw_warps(KEY, 0.9, 6, 10, 14))
    seen = warped(single(images), maps)
    for image, matrix, result in zip(images, np.asarray(maps, np.float64), seen, strict=True):
        assert not np.array_equal(matrix, np.eye(3))
        for channel in range(3):
            expected = slowly_warped(image[..., channel], matrix)
            # Places are float32: their error, 1e-5, times a slope of 2 or so.
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-4)


def warps(**changes):
    neutral = dict(scale=1, turn_before=0, stretch=1, turn_after=0)
    values = {name: single([changes.get(name, value)]) for name, value in neutral.items()}
    return Warps(**values, move=single([changes.get("move", (0, 0))]))


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ({"scale": 1.5}, lambda x, y: (1.5 * x, 1.5 * y)),
        ({"stretch": 1.3}, lambda x, y: (1.3 * x, y / 1.3)),
        ({"move": (1.25, -2.5)}, lambda x, y: (x + 1.25, y - 2.5)),
        # Counter-clockwise, y runs down.
        ({"turn_before": np.pi / 6}, lambda x, y: (0.75**0.5 * x + y / 2, 0.75**0.5 * y - x / 2)),
        ({"turn_after": np.pi / 2}, lambda x, y: (y, -x)),
        # In this order: bigger, turned, wider, turned back, moved.
        (
            dict(
                scale=1.25, turn_before=np.pi / 2, stretch=1.25, turn_after=-np.pi / 2, move=(1, 0)
            ),
            lambda x, y: (x + 1, 1.25**2 * y),
        ),
    ],
)
def test_a_warp_takes_what_is_seen_where_it_says(change, to):
    """The middle of a smooth spot."""
    size, place = 24, (2.0, -3.0)
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    spot = np.exp(-((column - place[0]) ** 2 + (row - place[1]) ** 2) / 2 / 1.5**2)
    seen = warped(single(spot)[None, ..., None], of_warps(warps(**change)))[0, ..., 0]
    x, y = to(*place)
    middle = np.array([np.sum(seen * column), np.sum(seen * row)]) / np.sum(seen)
    # SYM6 is not symmetric: a turn moves the middle by up to a tenth of a pixel.
    np.testing.assert_allclose(middle, (x, y), atol=0.1)


def test_geometry_is_drawn_as_published():
    blits = draw_blits(KEY, 0.6, MANY, 32, 64)
    warp = draw_warps(KEY, 0.6, MANY, 32, 64)
    five = 5 * np.sqrt(0.25 / MANY)  # standard deviations of a share
    assert abs(np.mean(blits.mirrored) - 0.6 / 2) < five
    for turns in range(1, 4):
        assert abs(np.mean(blits.quarters == turns) - 0.6 / 4) < five
    assert set(np.unique(blits.move[:, 0])) == set(range(-8, 9))
    assert set(np.unique(blits.move[:, 1])) == set(range(-4, 5))
    assert abs(np.mean((warp.turn_before != 0) | (warp.turn_after != 0)) - 0.6) < five
    assert abs(np.mean(warp.turn_before != 0) - (1 - np.sqrt(0.4))) < five
    even = scipy.stats.uniform(-np.pi, 2 * np.pi)
    for values, neutral, expected in (
        (warp.turn_before, 0, even),
        (warp.turn_after, 0, even),
        (np.log(warp.scale), 0, scipy.stats.norm(0, 0.2 * np.log(2))),
        (np.log(warp.stretch), 0, scipy.stats.norm(0, 0.2 * np.log(2))),
        (warp.move[:, 0], 0, scipy.stats.norm(0, 0.125 * 64)),
        (warp.move[:, 1], 0, scipy.stats.norm(0, 0.125 * 32)),
    ):
        drawn = np.asarray(values)[np.asarray(values) != neutral]
        assert scipy.stats.kstest(drawn, expected.cdf).pvalue > 0.01


def test_colours_change_one_after_the_other():
    images = noise(6)
    drawn = draw_colours(KEY, 0.8, 6)
    changed = change_colours(single(images), drawn)
    for i, image in enumerate(images):
        brightness, contrast, flip, hue, saturation = (float(each[i]) for each in drawn)
        image = contrast * (image + brightness)
        image = image - 2 * flip * image.mean(axis=-1, keepdims=True)
        turn = Rotation.from_rotvec(hue * np.ones(3) / np.sqrt(3)).as_matrix()
        image = image @ turn.T
        grey = image.mean(axis=-1, keepdims=True)
        np.testing.assert_allclose(changed[i], grey + saturation * (image - grey), 1e-5, 1e-5)


def test_a_grey_image_changes_as_one_with_three_equal_channels():
    images = single(noise(6, channels=1))
    drawn = draw_colours(KEY, 0.8, 6)
    assert np.all(np.any(np.asarray(drawn) != np.array([[0], [1], [0], [0], [1]]), axis=1))
    changed = change_colours(jnp.repeat(images, 3, axis=-1), drawn)
    np.testing.assert_allclose(changed, np.repeat(change_colours(images, drawn), 3, -1), atol=1e-5)


def test_colours_are_drawn_as_published():
    drawn = Colours(*map(np.asarray, draw_colours(KEY, 0.6, MANY)))
    assert abs(np.mean(drawn.flip) - 0.3) < 5 * np.sqrt(0.25 / MANY)
    for values, expected in (
        (drawn.brightness, scipy.stats.norm(0, 0.2)),
        (np.log(drawn.contrast), scipy.stats.norm(0, 0.5 * np.log(2))),
        (drawn.hue, scipy.stats.uniform(-np.pi, 2 * np.pi)),
        (np.log(drawn.saturation), scipy.stats.norm(0, np.log(2))),
    ):
        assert abs(np.mean(values != 0) - 0.6) < 5 * np.sqrt(0.25 / MANY)
        assert scipy.stats.kstest(values[values != 0], expected.cdf).pvalue > 0.01


def test_bands_add_up_to_no_change_and_part_low_from_high():
    filters = band_filters()
    np.testing.assert_allclose(filters.sum(axis=0), np.eye(43)[21], atol=1e-12)
    frequency, response = scipy.signal.freqz(filters[0])
    responses = [np.abs(scipy.signal.freqz(each)[1]) for each in filters]
    assert abs(response[0]) == pytest.approx(1)
    for band, (low, high) in enumerate([(0, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1)]):
        at = np.argmin(np.abs(frequency / np.pi - (0 if band == 0 else 0.7 * low + 0.3 * high)))
        assert np.argmax([each[at] for each in responses]) == band


def test_filters_are_convolutions_of_the_reflected_image():
    images = noise(3, 8, 11)
    strength = np.random.default_rng(0).uniform(0.3, 3, (3, 4))
    bands = Bands(single(strength), jnp.array([True, True, False]))
    filtered = filter_bands(single(images), bands)
    for i, each in enumerate(strength[:2]):
        expected = images[i]
        for axis in (0, 1):
            expected = scipy.ndimage.convolve1d(
                expected, each @ band_filters(), axis=axis, mode="mirror"
            )
        np.testing.assert_allclose(filtered[i], expected, atol=1e-5)
    np.testing.assert_array_equal(filtered[2], single(images[2]))


def test_bands_are_drawn_so_that_a_natural_image_keeps_its_power():
    strength, filtered = (np.asarray(each) for each in draw_bands(KEY, 0.6, MANY))
    assert abs(np.mean(filtered) - (1 - 0.4**4)) < 5 * np.sqrt(0.25 / MANY)
    # A band's factor over the next one's is a ratio of log-normals, each there with 0.6.
    ratio = np.log2(strength[:, 1] / strength[:, 2])
    assert np.std(ratio) == pytest.approx(np.sqrt(2 * 0.6), rel=0.06)
    only_first = np.isclose(strength[:, 1], strength[:, 2]) & np.isclose(
        strength[:, 2], strength[:, 3]
    )
    power = (10 * strength[:, 0] ** 2 + np.sum(strength[:, 1:] ** 2, axis=1)) / 13
    np.testing.assert_allclose(power[only_first], 1, rtol=1e-5)
    assert np.sum(only_first & filtered) > 50


def test_noise_and_holes_are_drawn_as_published():
    images = jnp.zeros((MANY, 8, 8, 1))
    added = np.asarray(draw_noise(KEY, 0.6, images))
    deviation = added.std(axis=(1, 2, 3))
    assert abs(np.mean(deviation > 0) - 0.6) < 5 * np.sqrt(0.25 / MANY)
    # Root of the mean of half-normal squares: 0.1.
    assert np.sqrt(np.mean(added[deviation > 0] ** 2)) == pytest.approx(0.1, rel=0.06)
    place, cut = draw_holes(KEY, 0.6, MANY)
    assert abs(np.mean(cut) - 0.6) < 5 * np.sqrt(0.25 / MANY)
    assert scipy.stats.kstest(np.ravel(place), scipy.stats.uniform.cdf).pvalue > 0.01


def test_a_hole_has_half_the_sides():
    images = single(noise(3, 8, 12))
    holes = draw_holes(KEY, 1.0, 3)._replace(
        place=single([[0.5, 0.5], [0, 1], [0.5, 0.5]]), cut=jnp.array([True, True, False])
    )
    expected = np.array(images)
    expected[0, 2:6, 3:9] = 0
    expected[1, 6:, :3] = 0
    np.testing.assert_array_equal(cut_out(images, holes), expected)


traces = []


@jax.jit
def everything(key, images, probability):
    traces.append(images.shape)
    return ada.augment(key, images, probability, EVERYTHING)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_as_they_are_to_the_bit_where_nothing_is_likely(channels):
    images = single(noise(channels=channels))
    np.testing.assert_array_equal(everything(KEY, images, single(0)), images)
    assert np.any(everything(KEY, images, single(0.3)) != images)


def test_a_probability_that_the_controller_moves_compiles_nothing_again():
    """Its type stays the same, and no part of the augmentation asks for its value."""
    images, state, probabilities = single(noise()), ada.initial(), []
    adjusted = jax.jit(lambda state: ada.adjusted(ada.observe(state, jnp.ones(4)), 0.6, 8, 1, 4))
    everything(KEY, images, state["probability"])
    traced = len(traces)
    for _ in range(3):
        probabilities.append(float(state["probability"]))
        everything(KEY, images, state["probability"])
        state = adjusted(state)
    assert probabilities == [0, 0.5, 1]
    assert len(traces) == traced and adjusted._cache_size() == 1


def test_every_image_draws_its_own_numbers_from_the_key():
    images = single(np.repeat(noise(1), 4, axis=0))
    first = everything(KEY, images, LIKELY)
    assert len(np.unique(first, axis=0)) == 4 and np.all(np.isfinite(first))
    np.testing.assert_array_equal(everything(KEY, images, LIKELY), first)
    assert np.any(everything(jax.random.key(8), images, LIKELY) != first)


@pytest.mark.slow
def test_slopes_run_through_everything_and_once_more():
    """Once more, as a penalty on gradients needs."""
    images, step, weight = single(noise()), single(noise()[::-1]), single(noise()[:, ::-1])

    def loss(images):
        return jnp.sum(weight * jnp.square(everything(KEY, images, LIKELY)))

    @jax.jit
    def along(images):
        slope = jax.grad(loss)
        curve = jax.grad(lambda images: jnp.sum(slope(images) * step))
        return jnp.sum(slope(images) * step), jnp.sum(curve(images) * step)

    first, second = along(images)
    # Quadratic in the images: wide differences have no error but of rounding.
    before, here, after = loss(images - step), loss(images), loss(images + step)
    assert first == pytest.approx(float(after - before) / 2, rel=1e-4)
    assert second == pytest.approx(float(after + before - 2 * here), rel=1e-3)


@pytest.mark.parametrize("types", ["blit", "geom", "color", "filter", "noise", "cutout"])
def test_types_do_what_is_named(types):
    """Blits alone keep all values, and a hole alone brings zeros."""
    images = single(noise(8))
    changed = np.asarray(jax.jit(lambda x: ada.augment(KEY, x, 1.0, types))(images))
    kept_values = all(
        np.isin(result, image).all()
        for result, image in zip(changed, np.asarray(images), strict=True)
    )
    assert np.any(changed != images)
    assert kept_values == (types == "blit")
    assert np.any(changed == 0) == (types == "cutout")


def test_the_controller_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    interval, batch, images = 4, 8, 100
    state, signs, probability = ada.initial(), [], 0.0
    for step in range(60):
        # Sure at first, and then not any more.
        logits = rng.normal(2 if step < 30 else -1, 1, batch)
        state = ada.observe(state, single(logits))
        signs.append(np.sign(logits))
        if (step + 1) % interval == 0:
            direction = np.sign(np.mean(signs) - 0.6)
            probability = np.clip(probability + direction * batch * interval / images, 0, 1)
            signs = []
        state = ada.adjusted(state, 0.6, images, interval, batch)
        assert state["probability"] == pytest.approx(probability, abs=1e-6)
        assert state["count"] == len(signs) * batch
        if step == 27:
            assert probability == 1
    assert probability == 0


def test_the_controller_keeps_its_form_through_jit():
    def step(state, logits):
        return ada.adjusted(ada.observe(state, logits), batch=3), None

    states, _ = jax.lax.scan(step, ada.initial(), jnp.ones((8, 3)))
    assert states["probability"] == pytest.approx(2 * 12 / 500_000)
    assert jax.tree.all(jax.tree.map(lambda x: x.dtype == jnp.float32 and x.shape == (), states))


def test_an_unknown_type_is_named():
    with pytest.raises(UserError, match="'bgx'; did you mean 'bg"):
        ada.augment(KEY, jnp.zeros((1, 4, 4, 1)), 0.5, "bgx")  # pyright: ignore


def test_reflection_goes_on_without_end():
    expected = np.pad(np.arange(5), 40, mode="reflect")
    np.testing.assert_array_equal(reflected(np.arange(-40, 45), 5), expected)
