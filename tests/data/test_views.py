"""Several views of every image: how many, of which pipeline, and with which draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import component, default_config, validate
from dlresearch.data import make_views
from dlresearch.data.augmentations import Normalise
from dlresearch.errors import UserError

KEY, OTHER_KEY = jax.random.key(3), jax.random.key(4)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
BATCH = {"image": jnp.asarray(IMAGES), "label": jnp.arange(6)}
SHIFT, FLIP = component("shifted_crop", padding=2), component("flip")
SMALL = component("random_resized_crop", size=(4, 4))


def views(**given):
    config = default_config()
    config.data.views = given
    return make_views(validate(config).data.views)


def test_without_pipelines_there_are_no_views():
    assert views() is None


def test_two_views_of_one_pipeline_have_draws_of_their_own():
    batch = views(first=(SHIFT,))(KEY, BATCH)
    first, second = np.asarray(batch["first_view"]), np.asarray(batch["second_view"])
    assert first.shape == second.shape == IMAGES.shape and first.dtype == np.uint8
    for number in range(len(IMAGES)):
        assert not np.array_equal(first[number], second[number])
    np.testing.assert_array_equal(batch["image"], IMAGES)
    np.testing.assert_array_equal(batch["label"], np.arange(6))


def test_each_row_is_a_view_of_the_image_in_that_row():
    """A shift moves pixels and makes none."""
    plain = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 8, 8, 1), np.uint8)
    made = views(first=(SHIFT,), local=(SHIFT,), local_count=3)(KEY, {"image": plain})
    np.testing.assert_array_equal(made["first_view"], plain)
    np.testing.assert_array_equal(made["second_view"], plain)
    np.testing.assert_array_equal(made["local_views"], np.stack([plain] * 3, axis=1))


def test_the_second_view_may_have_a_pipeline_of_its_own():
    made = views(first=(component("flip", probability=1.0),), second=())(KEY, BATCH)
    np.testing.assert_array_equal(made["first_view"], IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(made["second_view"], IMAGES)


def test_local_views_are_as_many_and_as_small_as_the_config_says():
    made = views(first=(SHIFT,), local=(SMALL,), local_count=4)(KEY, BATCH)
    local = np.asarray(made["local_views"])
    assert local.shape == (6, 4, 4, 4, 3)
    assert len({view.tobytes() for view in local[0]}) == 4


def test_views_follow_from_the_key_alone():
    pipeline = views(first=(SHIFT, FLIP), local=(SMALL,), local_count=2)
    pipeline = jax.jit(pipeline)
    once, again, other = (pipeline(key, BATCH) for key in (KEY, jax.random.key(3), OTHER_KEY))
    for name in ("first_view", "second_view", "local_views"):
        np.testing.assert_array_equal(once[name], again[name])
        assert (once[name] != other[name]).any()


@pytest.mark.slow
def test_views_are_preprocessed_as_images_are():
    pipeline = views(first=(FLIP,), local=(SMALL,), local_count=2)
    raw = pipeline(KEY, BATCH)
    done = pipeline.preprocessed((Normalise(mean=(0.5,), std=(0.25,)),), raw)
    for name in ("first_view", "local_views"):
        expected = (np.asarray(raw[name], np.float32) / 255 - 0.5) / 0.25
        np.testing.assert_allclose(done[name], expected, atol=1e-5)
    np.testing.assert_array_equal(done["image"], IMAGES)  # that is left to others


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"second": (FLIP,)}, r"config\.data\.views\.second: there is no first view"),
        ({"local": (SMALL,)}, r"config\.data\.views\.local_count: 0"),
        ({"first": (FLIP,), "local_count": 2}, r"config\.data\.views\.local: empty"),
        (
            {"first": (FLIP, component("alternating_flip"))},
            r"config\.data\.views\.first\.1: it goes by the epoch",
        ),
        ({"first": (component("filp"),)}, r"config\.data\.views\.first\.0.*did you mean 'flip'"),
    ],
)
def test_views_that_cannot_be_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        views(**given)


def test_a_key_of_the_examples_is_not_overwritten():
    with pytest.raises(UserError, match="have a key 'second_view' of their own"):
        views(first=(FLIP,))(KEY, {**BATCH, "second_view": BATCH["image"]})


def test_examples_without_images_have_no_views():
    with pytest.raises(UserError, match=r"config\.data\.views: the batch has no 'image'"):
        views(first=(FLIP,))(KEY, {"tokens": jnp.zeros((4, 3))})
