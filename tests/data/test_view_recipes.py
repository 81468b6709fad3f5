"""Recipes give the views that they were published with, and take other numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import default_config, validate
from dlresearch.data import make_views
from dlresearch.data.view_recipes import RECIPES, views
from dlresearch.errors import UserError

KEY = jax.random.key(0)
TWO_VIEWS = {"first_view", "second_view"}
# Side of the views, and number and side of the local ones.
SIZES = {
    "simclr": (224, None),
    "moco_v2": (224, None),
    "byol": (224, None),
    "vicreg": (224, None),
    "swav": (224, (6, 96)),
    "dino": (224, (8, 96)),
    "mae": (224, None),
    "cifar": (32, None),
    "cifar_simclr": (32, None),
    "cifar_vicreg": (32, None),
    "digits": (28, None),
}
ASYMMETRIC = {"byol", "dino", "cifar", "mae"}


def make(recipe, **changes):
    config = default_config()
    config.data.views = views(recipe, **changes)
    made = make_views(validate(config).data.views)
    assert made is not None
    return made


def shapes(made, channels=3):
    images = jax.ShapeDtypeStruct((2, 40, 40, channels), jnp.uint8)
    found = jax.eval_shape(made, KEY, {"image": images})
    assert all(view.dtype == jnp.uint8 for view in found.values())
    return {name: view.shape[1:-1] for name, view in found.items() if name != "image"}


def numbers(pipeline):
    """Its components by name, as plain dicts."""
    return {part.name: {**part.to_dict()} for part in pipeline}


def test_all_recipes_are_in_these_tests():
    assert SIZES.keys() == RECIPES.keys()


@pytest.mark.parametrize("recipe", SIZES)
def test_views_have_the_published_sizes(recipe):
    size, local = SIZES[recipe]
    expected = dict.fromkeys(TWO_VIEWS, (size, size))
    if local is not None:
        expected["local_views"] = (local[0], local[1], local[1])
    if recipe == "mae":  # learns from one view
        expected["second_view"] = (40, 40)
    assert shapes(make(recipe), channels=1 if recipe == "digits" else 3) == expected


@pytest.mark.parametrize("recipe", SIZES)
def test_the_second_view_differs_in_its_pipeline_only_where_the_paper_says_so(recipe):
    second = views(recipe)["second"]
    assert (second is not None) == (recipe in ASYMMETRIC)
    if second:
        first, second = numbers(views(recipe)["first"]), numbers(second)
        assert {"gaussian_blur", "solarise"} >= {
            name for name in first | second if first.get(name) != second.get(name)
        }
        assert "solarise" not in first and second["solarise"]["probability"] == 0.2


def test_sizes_and_counts_may_be_others():
    made = make("dino", size=32, local_size=16, local_count=3)
    assert shapes(made) == dict.fromkeys(TWO_VIEWS, (32, 32)) | {"local_views": (3, 16, 16)}
    assert shapes(make("swav", size=32, local_count=0)).keys() == TWO_VIEWS


def test_numbers_may_be_others_in_all_views():
    parts = numbers(views("simclr", strength=0.5, blur=0.0)["first"])
    assert "gaussian_blur" not in parts and "solarise" not in parts
    del parts["colour_jitter"]["name"]
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "probability": 0.8}
    assert parts["colour_jitter"] == pytest.approx(jitter)
    made = views("dino", grey=0.5, flip=0.0)
    for pipeline in (made["first"], made["second"], made["local"]):
        assert numbers(pipeline)["grayscale"]["probability"] == 0.5
        assert "flip" not in numbers(pipeline)


def test_every_fifth_second_view_of_byol_is_solarised_and_no_first_one():
    """Of images of one level, that nothing else changes."""
    images = np.full((600, 4, 4, 3), 200, np.uint8)
    nothing_else = {"area": None, "flip": 0.0, "jitter": 0.0, "grey": 0.0}
    made = jax.jit(make("byol", **nothing_else))(KEY, {"image": images})
    assert (np.asarray(made["first_view"]) == 200).all()
    second = np.asarray(made["second_view"])
    assert set(np.unique(second)) == {55, 200}
    assert np.mean(second[:, 0, 0, 0] == 55) == pytest.approx(0.2, abs=0.04)


def test_views_of_digits_keep_their_colour_and_are_not_mirrored():
    """A bar at the left stays there, as bright as it was, in a frame of nothing."""
    images = np.zeros((200, 20, 20, 1), np.uint8)
    images[:, 4:16, 5:8] = 200
    made = jax.jit(make("digits", size=20, area=(0.9, 1.0)))(KEY, {"image": images})
    for name in TWO_VIEWS:
        view = np.asarray(made[name])[..., 0].astype(float)
        middle = (view.sum(1) @ np.arange(20)) / view.sum((1, 2))
        assert (middle < 10).mean() > 0.95
        assert 190 < np.median(view.max((1, 2))) <= 200
    assert not np.array_equal(made["first_view"], made["second_view"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "simcrl"}, "views: there is no recipe 'simcrl'; did you mean 'simclr'"),
        ({"recipe": "byol", "blurr": 1.0}, "views: a recipe has no 'blurr'; did you mean 'blur'"),
        ({"recipe": "byol", "local_count": 4}, "views: 'byol' has no local views; take 'swav'"),
    ],
)
def test_what_no_recipe_has(arguments, message):
    with pytest.raises(UserError, match=message):
        views(**arguments)
