"""What StyleGAN2's generator and discriminator promise."""

from functools import cache
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.models.gan import StyleGAN2Discriminator, StyleGAN2Generator

SMALL = {"size": 8, "channels": 2, "channel_base": 64, "channel_max": 6}
STYLED = {**SMALL, "style_width": 7, "mapping_layers": 2}
KEY = jax.random.key(0)
LATENT = jax.random.normal(jax.random.key(1), (4, 5))
LABEL = jnp.array([0, 2, 1, 2])
IMAGES = jax.random.normal(jax.random.key(2), (4, 8, 8, 2))


def filled(shapes, start=0.0, seed=0):
    """Random numbers in place of those of `init`, which take longer to compile than the network."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(start, 1, leaf.shape), leaf.dtype), shapes
    )


@cache
def generator(**more):
    """A model with parameters, where noise has strength and biases are not 0, and its state."""
    model = functional(StyleGAN2Generator, **{**STYLED, **more})
    label = (LABEL,) if more.get("num_classes") else ()
    params, state = jax.eval_shape(model.init, KEY, LATENT, *label)
    state = {"constants": filled(state["constants"]), "style_mean": {"style": jnp.zeros(7)}}
    params = filled(params, start=0.3)
    for name, dense in params["mapping_network"].items():
        if name != "classes":  # it is used times its learning-rate multiplier of 0.01
            dense["kernel"] = 100 * dense["kernel"]
    return model, params, state


@cache
def compiled(model, train, method):
    return jax.jit(
        lambda params, state, *inputs: model.apply(
            params, state, *inputs, train=train, key=KEY if train else None, method=method
        )
    )


def applied(model, *arguments, train=False, method="__call__"):
    return compiled(model, train, method)(*arguments)


def images(model, params, state, *inputs, method="__call__"):
    return np.asarray(applied(model, params, state, *inputs, method=method)[0])


# --- every variant ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"architecture": "residual", "num_classes": 3},
        {"dtype": jnp.float16, "float32_below": 4, "remat": True},
    ],
    ids=str,
)
def test_every_generator_makes_images_and_every_parameter_learns(more):
    model, params, state = generator(**more)
    label = (LABEL,) if "num_classes" in more else ()

    @jax.jit
    def gradient(params):
        def loss(params):
            made, new_state = model.apply(params, state, LATENT, *label, train=True, key=KEY)
            return jnp.square(made - 0.1).mean(), (made, new_state)

        return jax.grad(loss, has_aux=True)(params)

    gradients, (made, new_state) = gradient(params)
    assert made.shape == (4, 8, 8, 2) and made.dtype == jnp.float32
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), jax.tree_util.keystr(path)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)


@pytest.mark.parametrize(
    "more",
    [
        {"num_classes": 3, "mapping_layers": 2},
        {"architecture": "skip"},
        {"architecture": "plain", "dtype": jnp.bfloat16, "float32_below": 8, "remat": True},
    ],
    ids=str,
)
def test_every_discriminator_judges_and_is_differentiated_twice(more):
    model = functional(StyleGAN2Discriminator, **{**SMALL, **more})
    label = (LABEL,) if "num_classes" in more else ()
    params, state = jax.eval_shape(model.init, KEY, IMAGES, *label)
    assert state == {}
    params = filled(params)

    @jax.jit
    def gradient(params):
        def loss(params):
            def judge(images):
                logits = model.apply(params, state, images, *label, train=True)[0]
                return logits.sum(), logits

            slopes, logits = jax.grad(judge, has_aux=True)(IMAGES)
            return logits.sum() + jnp.square(slopes).sum(), logits

        return jax.grad(loss, has_aux=True)(params)

    gradients, logits = gradient(params)
    assert logits.shape == (4,) and logits.dtype == jnp.float32
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), jax.tree_util.keystr(path)


def test_at_the_start_noise_is_silent_and_the_mean_style_is_zero():
    model = functional(StyleGAN2Generator, **STYLED)
    params, state = jax.jit(model.init)(KEY, LATENT)
    assert not np.any(state["style_mean"]["style"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if "noise_strength" in name:
            assert leaf == 0, name
        if "bias" in name:  # what scales inputs starts at 1
            np.testing.assert_array_equal(leaf, float("style" in name), err_msg=name)
    noises = jax.tree.leaves(state["constants"])
    assert sorted(each.shape for each in noises) == [(4, 4, 1), (8, 8, 1), (8, 8, 1)]
    # 144 draws.
    assert np.concatenate([np.ravel(each) for each in noises]).std() == pytest.approx(1, abs=0.3)


def test_rematerialisation_changes_no_image():
    model, params, state = generator()
    again = functional(StyleGAN2Generator, **STYLED, remat=True)
    np.testing.assert_allclose(
        images(again, params, state, LATENT), images(model, params, state, LATENT), rtol=1e-5
    )


def test_half_precision_stays_close():
    model, params, state = generator()
    half = functional(StyleGAN2Generator, **STYLED, dtype=jnp.bfloat16, float32_below=8)
    exact, rounded = (images(each, params, state, LATENT) for each in (model, half))
    # bfloat16 has 8 bits; two layers of two round.
    assert 0 < np.abs(exact - rounded).max() < 0.03 * np.abs(exact).max()


def test_classes_change_what_is_made_and_what_is_thought_of_it():
    model, params, state = generator(num_classes=3)
    one, other = (images(model, params, state, LATENT, LABEL * 0 + each) for each in (0, 1))
    assert np.abs(one - other).max() > 1e-3
    judge = functional(StyleGAN2Discriminator, **SMALL, num_classes=3, mapping_layers=1)
    params = filled(jax.eval_shape(judge.init, KEY, IMAGES, LABEL)[0])
    one, other = (images(judge, params, {}, IMAGES, LABEL * 0 + each) for each in (0, 1))
    assert np.abs(one - other).max() > 1e-4


# --- styles -------------------------------------------------------------------------------------


def test_an_image_is_the_synthesis_of_its_mapping():
    model, params, state = generator()
    styles, _ = applied(model, params, state, LATENT, method="mapping")
    assert styles.shape == (4, 4, 7) and styles.dtype == jnp.float32
    made, _ = applied(model, params, state, styles, method="synthesis")
    np.testing.assert_allclose(made, images(model, params, state, LATENT), rtol=1e-5, atol=1e-6)


def test_the_mapping_is_the_direct_formula():
    model, params, state = generator(num_classes=3)
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["mapping_network"])

    def normalised(rows):
        return rows / np.sqrt(np.square(rows).mean(1, keepdims=True) + 1e-8)

    classes = weights["classes"]["kernel"][LABEL] / np.sqrt(3) + weights["classes"]["bias"]
    x = np.concatenate([normalised(np.asarray(LATENT)), normalised(classes)], axis=1)
    for layer in range(2):
        dense = weights[f"dense_{layer}"]
        x = x @ dense["kernel"] * 0.01 / np.sqrt(x.shape[1]) + 0.01 * dense["bias"]
        x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
    styles, _ = applied(model, params, state, LATENT, LABEL, method="mapping")
    np.testing.assert_allclose(styles, np.repeat(x[:, None], 4, axis=1), rtol=1e-4, atol=1e-5)


def test_mixing_replaces_the_later_layers_by_one_other_style():
    model, params, state = generator(style_mixing=1.0)
    latent = jnp.tile(LATENT, (16, 1))
    plain, _ = applied(model, params, state, latent, method="mapping")
    mixed, _ = applied(model, params, state, latent, train=True, method="mapping")
    starts = []
    for before, after in zip(np.asarray(plain), np.asarray(mixed), strict=True):
        same = np.isclose(before, after, rtol=1e-4, atol=1e-6).all(axis=1)
        starts.append(int(same.sum()))
        assert same[: starts[-1]].all()  # from some layer on all are replaced
        np.testing.assert_array_equal(after[starts[-1] :], after[[-1] * (4 - starts[-1])])
    assert set(starts) == {1, 2, 3}  # never from the first layer on


def test_styles_are_mixed_with_the_given_probability_and_in_training_only():
    latent = jnp.tile(LATENT, (64, 1))
    for probability in (0.0, 0.5):
        model, params, state = generator(style_mixing=probability)
        plain, _ = applied(model, params, state, latent, method="mapping")
        mixed, _ = applied(model, params, state, latent, train=True, method="mapping")
        share = np.any(np.abs(plain - mixed) > 1e-3, axis=(1, 2)).mean()
        # 256 draws: five standard deviations are 0.16.
        assert abs(share - probability) <= (0.16 if probability else 0)
        np.testing.assert_array_equal(np.ptp(plain, axis=1), 0)


@pytest.mark.parametrize("architecture", ["skip", "residual"])
def test_each_layer_obeys_its_own_style(architecture):
    model, params, state = generator(architecture=architecture)
    styles = jnp.ones((5, 4, 7))
    # The first row is left as it is, and each other one has another style in one layer.
    changed = styles.at[jnp.arange(1, 5), jnp.arange(4)].set(-1.0)
    made = images(model, params, state, changed, method="synthesis")
    differences = np.abs(made[1:] - made[:1]).max(axis=(1, 2, 3))
    assert (differences > 1e-3).all()


def test_truncation_goes_from_the_mean_style_to_the_plain_image():
    model, params, state = generator()
    state = {**state, "style_mean": {"style": jnp.linspace(-1, 1, 7)}}

    def truncated(share):
        return images(model, params, state, LATENT, None, jnp.float32(share), method="truncated")

    np.testing.assert_allclose(
        truncated(1.0), images(model, params, state, LATENT), rtol=1e-4, atol=1e-5
    )
    mean = jnp.tile(state["style_mean"]["style"], (4, 4, 1))
    of_mean = images(model, params, state, mean, method="synthesis")
    np.testing.assert_allclose(truncated(0.0), of_mean, rtol=1e-5, atol=1e-6)
    by_row = truncated([0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(by_row[::2], of_mean[::2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_row[1::2], truncated(1.0)[1::2], rtol=1e-4, atol=1e-5)


def test_the_mean_style_moves_in_training_only():
    model, params, state = generator(style_mixing=0.0)
    _, kept = applied(model, params, state, LATENT)
    assert not np.any(kept["style_mean"]["style"])
    styles, moved = applied(model, params, state, LATENT, train=True, method="mapping")
    expected = 0.005 * np.asarray(styles[:, 0]).mean(axis=0)
    np.testing.assert_allclose(moved["style_mean"]["style"], expected, rtol=1e-5)
    _, twice = applied(model, params, moved, LATENT, train=True, method="mapping")
    np.testing.assert_allclose(twice["style_mean"]["style"], 1.995 * expected, rtol=1e-5)
    _, other = applied(model, params, moved, styles, train=True, method="synthesis")
    np.testing.assert_array_equal(other["style_mean"]["style"], moved["style_mean"]["style"])


# --- noise --------------------------------------------------------------------------------------


def test_noise_is_drawn_in_training_and_constant_in_evaluation():
    model, params, state = generator(style_mixing=0.0)
    once = images(model, params, state, LATENT)
    np.testing.assert_array_equal(once, images(model, params, state, LATENT))
    # The constant is of the state, not of the example: equal latents make equal images.
    pair = images(model, params, state, LATENT[:1].repeat(4, axis=0))
    np.testing.assert_allclose(pair[0], pair[1], rtol=1e-5, atol=1e-6)
    trained, changed = applied(model, params, state, LATENT[:1].repeat(4, 0), train=True)
    assert np.abs(trained[0] - trained[1]).max() > 1e-2
    assert np.abs(trained[0] - once[0]).max() > 1e-2
    jax.tree.map(np.testing.assert_array_equal, changed["constants"], state["constants"])
    silent = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 0 if "noise_strength" in jax.tree_util.keystr(path) else leaf,
        params,
    )
    assert np.abs(images(model, silent, state, LATENT) - once).max() > 1e-2


# --- sizes --------------------------------------------------------------------------------------


def count(constructor, *inputs, **arguments):
    """Parameters, without making them."""
    model = functional(constructor, **arguments)
    params, _ = jax.eval_shape(model.init, KEY, *inputs)
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(params))


# The totals that the released code prints (stylegan2-ada-pytorch): 1024 pixels with `channel_base`
# 32768, at which 256 pixels take 30.03 M, and `paper256`, which has half of it. They hold 8 mapping
# layers of 512, strengths of noise and all biases; the noise of evaluation and the mean style are
# no parameters.
@pytest.mark.parametrize(
    ("size", "base", "generators", "discriminators"),
    [
        (1024, 32768, 30_370_060, 29_012_513),
        (256, 16384, 24_767_458, 24_001_089),
        (256, 32768, 30_034_338, 28_864_129),
    ],
)
def test_counts_of_parameters_are_the_published_ones(size, base, generators, discriminators):
    sizes = {"size": size, "channel_base": base}
    latent, seen = jnp.zeros((1, 512)), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    assert count(StyleGAN2Generator, latent, **sizes) == generators
    assert count(StyleGAN2Discriminator, seen, **sizes) == discriminators


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constructor", "arguments", "message"),
    [
        (StyleGAN2Generator, {"size": 28}, "size=28: .* nearest sizes are 16 and 32"),
        (StyleGAN2Discriminator, {"size": 2048}, "size=2048: .* nearest sizes are 512 and 1024"),
        (StyleGAN2Generator, {"architecture": "plain"}, "must be one of skip, residual"),
        (StyleGAN2Discriminator, {"architecture": "orig"}, "one of residual, skip, plain"),
        (StyleGAN2Generator, {"style_mixing": 1.5}, "style_mixing=1.5"),
        (StyleGAN2Generator, {"num_classes": -1}, "num_classes=-1"),
        (StyleGAN2Discriminator, {"group_size": 0}, "group_size=0"),
        (StyleGAN2Discriminator, {"dtype": "int8"}, "dtype=int8"),
    ],
)
def test_bad_settings_are_named(constructor, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        constructor(**arguments)
    assert "\n" not in str(caught.value)


def test_inputs_that_do_not_fit_are_named():
    judge = functional(StyleGAN2Discriminator, **SMALL)
    with pytest.raises(UserError, match=r"made for images \[8, 8, 2\], not \[8, 8, 3\]"):
        judge.init(KEY, jnp.zeros((4, 8, 8, 3)))
    with pytest.raises(UserError, match="num_classes=0"):
        judge.init(KEY, IMAGES, LABEL)
    with pytest.raises(UserError, match="needs a label"):
        functional(StyleGAN2Generator, **STYLED, num_classes=3).init(KEY, LATENT)
