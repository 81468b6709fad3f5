"""Masked autoencoders: masks, the loss and the task, against NumPy and by what must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import Component, bind
from dlresearch.errors import UserError
from dlresearch.models import ResNet, ViT, functional, patchify
from dlresearch.tasks import fold_in_name
from dlresearch.tasks.self_supervised.mae import MAE
from dlresearch.tasks.self_supervised.masked_patches import masked_error, random_masks, visible

RNG = np.random.default_rng(0)
VIT = {"width": 8, "depth": 2, "heads": 2, "patch_size": 2, "positions": "sincos"}
DECODER = {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
IMAGES = RNG.normal(size=(3, 6, 8, 2)).astype(np.float32)
BATCH = {
    "image": IMAGES,
    "label": np.array([0, 1, 1], np.int32),
    "example": np.array([7, 3, 5], np.int32),
}


def make_model(component=None, path="config.model", constructor=ViT, **context):
    if component is None:
        return functional(constructor, **context, **(VIT if constructor is ViT else {}))
    made, arguments = bind(component, "model", path, **context)
    return functional(made, **arguments)


def made(metadata=None, **arguments):
    metadata = {"num_classes": 2} if metadata is None else metadata
    return MAE(make_model, metadata, **{**DECODER, **arguments})


# --- masks --------------------------------------------------------------------------------------


def test_every_image_keeps_the_same_share_and_all_patches_are_as_likely():
    draws = 4000
    masks = random_masks(jax.random.uniform(jax.random.key(0), (draws, 3, 4)), 0.75)
    masked = np.asarray(masks.masked).reshape(draws, 12)
    assert masks.keep.shape == (draws, 3) and masks.masked.shape == (draws, 3, 4)
    assert np.all(masked.sum(1) == 9)
    share = masked.mean(0)
    np.testing.assert_allclose(share, 0.75, atol=4 * np.sqrt(0.75 * 0.25 / draws))
    # Any two patches are hidden together as often as any other two: 9 * 8 / (12 * 11).
    both = (masked[:, :1] & masked[:, 1:]).mean(0)
    np.testing.assert_allclose(both, 72 / 132, atol=4 * np.sqrt(0.25 / draws))


def test_the_kept_patches_are_those_with_the_least_noise_in_ascending_order():
    noise = RNG.uniform(size=(5, 2, 4)).astype(np.float32)
    masks = random_masks(jnp.asarray(noise), 0.6)
    least = np.sort(np.argsort(noise.reshape(5, 8), axis=1)[:, :3], axis=1)
    np.testing.assert_array_equal(masks.keep, least)
    for image in range(5):
        shown = np.flatnonzero(~np.asarray(masks.masked[image]).ravel())
        np.testing.assert_array_equal(shown, least[image])


@pytest.mark.parametrize(
    ("patches", "ratio", "kept"), [(196, 0.75, 49), (10, 0.66, 3), (4, 0.99, 1), (4, 0.01, 3)]
)
def test_at_least_one_patch_is_kept_and_one_hidden(patches, ratio, kept):
    assert visible(patches, ratio) == kept


# --- the loss -----------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_the_mean_squared_error_of_the_pixels_of_masked_patches(normalise):
    predicted, patches = 3 * RNG.normal(size=(2, 4, 2, 3, 5)) + 1
    masked = RNG.uniform(size=(4, 2, 3)) < 0.6
    errors = []
    for place in zip(*np.nonzero(masked), strict=True):
        target = patches[place]
        if normalise:
            target = (target - target.mean()) / np.sqrt(target.var() + 1e-6)
        errors += list((predicted[place] - target) ** 2)
    low = predicted.astype(np.float32), patches.astype(np.float32), masked
    found, slopes = jax.jit(jax.value_and_grad(masked_error), static_argnums=3)(*low, normalise)
    np.testing.assert_allclose(found, np.mean(errors), rtol=1e-5)
    np.testing.assert_array_equal(np.any(slopes != 0, axis=-1), masked)


def test_an_even_patch_has_no_infinite_target():
    patches = np.full((1, 1, 2, 4), 3, np.float32)
    assert masked_error(np.zeros_like(patches), patches, np.ones((1, 1, 2), bool), True) == 0


# --- the task -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def task():
    """The task, its variables, and what a step of training computes."""
    task = made()
    variables = jax.jit(task.init)(jax.random.key(0), BATCH)
    (player,) = task.players

    @jax.jit
    def step(params, batch, key):
        return jax.value_and_grad(player.loss, has_aux=True)(params, variables, batch, key)

    return task, variables, step


@pytest.fixture(scope="module")
def reconstruct(task):
    own, *_ = task
    return jax.jit(own.reconstruct)


def test_the_backbone_is_the_supervised_network_without_its_head(task):
    _, variables, _ = task
    supervised = functional(ViT, num_outputs=2, **VIT)
    params, _ = jax.eval_shape(supervised.init, jax.random.key(0), IMAGES)
    del params["head"]
    assert variables.params["model"].keys() == {"backbone", "decoder", "probe"}
    shapes = jax.tree.map(jnp.shape, variables.params["model"]["backbone"])
    assert shapes == jax.tree.map(jnp.shape, params)


def test_every_parameter_learns_and_the_probe_teaches_the_others_nothing(task):
    _, variables, step = task
    params = variables.params["model"]
    (loss, (state, metrics)), gradient = step(params, BATCH, jax.random.key(1))
    assert loss == pytest.approx(metrics["loss"] + metrics["probe_loss"])
    assert jax.tree.structure(state) == jax.tree.structure(dict(variables.state))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        # Adding to all keys changes no attention: that gradient is nothing but rounding.
        is_key_bias = jax.tree_util.keystr(path).endswith("['key']['bias']")
        assert np.isfinite(leaf).all() and (is_key_bias or np.any(leaf != 0)), path
    other = {**BATCH, "label": 1 - BATCH["label"]}
    _, changed = step(params, other, jax.random.key(1))
    for name in ("backbone", "decoder"):
        jax.tree.map(np.testing.assert_array_equal, changed[name], gradient[name])
    assert not np.array_equal(changed["probe"]["bias"], gradient["probe"]["bias"])


def test_the_loss_is_that_of_its_networks_put_together_by_hand(task):
    _, variables, step = task
    params = variables.params["model"]
    (_, (_, metrics)), _ = step(params, BATCH, jax.random.key(1))
    encoder = make_model(num_outputs=None)
    decoder = make_model(Component("mae_decoder", width=8, depth=1, heads=2), num_outputs=2 * 2 * 2)
    images, params = jax.tree.map(jnp.asarray, (IMAGES, params))

    @jax.jit
    def error(noise):
        masks = random_masks(noise, 0.75)
        tokens, _ = encoder.apply(
            params["backbone"], {}, images, masks.keep, train=False, method="encode"
        )
        told, _ = decoder.apply(params["decoder"], {}, tokens, *masks, train=False)
        target = patchify(images, 2)
        target = target - target.mean(-1, keepdims=True)
        target = target / jnp.sqrt((target**2).mean(-1, keepdims=True) + 1e-6)
        squares = ((told - target) ** 2).mean(-1)
        return squares[masks.masked.nonzero(size=3 * 9)].mean()

    noise = jax.random.uniform(fold_in_name(jax.random.key(1), "mask"), (3, 3, 4))
    loss = float(metrics["loss"])
    assert float(error(noise)) == pytest.approx(loss, rel=1e-5)
    assert float(error(1 - noise)) != pytest.approx(loss, rel=1e-5)


def test_masks_change_from_step_to_step(task):
    _, variables, step = task
    losses = {
        float(step(variables.params["model"], BATCH, jax.random.key(seed))[0][1][1]["loss"])
        for seed in range(4)
    }
    assert len(losses) == 4


def test_views_are_learned_from_where_there_are_any(task):
    _, variables, step = task
    params = variables.params["model"]
    views = {**BATCH, "image": np.zeros_like(IMAGES), "first_view": IMAGES}
    (of_views, _), _ = step(params, views, jax.random.key(1))
    (of_images, _), _ = step(params, BATCH, jax.random.key(1))
    assert of_views == of_images


def test_features_are_those_of_the_whole_image(task):
    own, variables, _ = task
    features = jax.jit(own.features)(variables, BATCH)
    params = variables.params["model"]["backbone"]
    backbone = make_model(num_outputs=None)
    expected, _ = jax.jit(lambda params: backbone.apply(params, {}, IMAGES, train=False))(params)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    logits = jax.jit(own.predict)(variables, BATCH)
    assert logits.shape == (3, 2)


def test_reconstructions_show_what_is_seen_and_hide_the_same_of_an_example_everywhere(
    task, reconstruct
):
    _, variables, _ = task
    found = reconstruct(variables, BATCH)
    np.testing.assert_array_equal(found["image"], IMAGES)
    same = np.all(patchify(found["masked"], 2) == patchify(IMAGES, 2), axis=-1)
    assert np.all(same.sum((1, 2)) == 3)  # of 12, a quarter
    told = patchify(found["reconstruction"], 2)
    np.testing.assert_array_equal(np.all(told == patchify(IMAGES, 2), axis=-1), same)
    mean = IMAGES.mean((1, 2))
    for image in range(3):
        hidden = np.asarray(patchify(found["masked"], 2))[image][~same[image]]
        np.testing.assert_allclose(hidden, np.tile(mean[image], (9, 4)), rtol=1e-4, atol=1e-6)
    order = np.array([2, 0, 1])
    moved = reconstruct(variables, {name: values[order] for name, values in BATCH.items()})
    for name, values in moved.items():
        np.testing.assert_allclose(values, np.asarray(found[name])[order], rtol=1e-4, atol=1e-5)


def test_a_normalised_patch_is_told_in_the_range_of_the_true_one(task, reconstruct):
    _, variables, _ = task
    scaled = {**BATCH, "image": 100 * IMAGES + 50}
    found = reconstruct(variables, scaled)["reconstruction"]
    assert 20 < np.mean(found) < 80 and 20 < np.std(found) < 400


@pytest.mark.parametrize("name", ["probe", "num_classes"])
def test_without_a_probe_or_classes_there_is_only_the_loss(name):
    task = made(probe=False) if name == "probe" else made(metadata={})
    batch = {"image": IMAGES, "example": BATCH["example"]}
    variables = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert variables.params["model"].keys() == {"backbone", "decoder"}
    _, (_, metrics) = jax.eval_shape(
        task.players[0].loss, variables.params["model"], variables, batch, jax.random.key(0)
    )
    assert metrics.keys() == {"loss"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_ratio": 1.0}, r"^config\.task\.mask_ratio: 1\.0 is not between 0 and 1"),
        ({"mask_ratio": 0.0}, r"^config\.task\.mask_ratio: 0\.0 is not between 0 and 1"),
        ({"decoder_heads": 3}, "width=8 does not divide into heads=3"),
        ({"decoder_width": 6, "decoder_heads": 1}, "width=6: must divide by 4"),
        ({"decoder_depth": 0}, "depth=0: must be at least 1"),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        made(**arguments)


def test_an_image_of_one_patch_leaves_nothing_to_see():
    batch = {**BATCH, "image": IMAGES[:, :2, :2]}
    with pytest.raises(UserError, match=r"^config\.model\.patch_size: an image is a single patch"):
        jax.eval_shape(made().init, jax.random.key(0), batch)


def test_a_model_without_patches_is_explained():
    def residual(*arguments, **context):
        return make_model(*arguments, constructor=ResNet, **context)

    task = MAE(residual, {}, **DECODER)
    with pytest.raises(UserError, match="ResNet has no method 'pixels', which the task calls"):
        jax.eval_shape(task.init, jax.random.key(0), BATCH)
