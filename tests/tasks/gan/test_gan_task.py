"""The task `gan` as the trainer, evaluators and `generate` see it."""

import io
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image
from scipy.stats import norm, truncnorm

from dlresearch.config import Component
from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.tasks import GAN, Hopeless, Time
from dlresearch.tasks.gan.form import Form
from dlresearch.tasks.gan.latents import numbered, truncated

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 4, 4, 1), dtype=np.uint8)
BATCH = {
    "image": jnp.asarray(IMAGES),
    "label": jnp.arange(8, dtype=jnp.int32) % 2,
    "example": jnp.arange(8, dtype=jnp.int32),
    "mask": jnp.ones(8, bool),
}
METADATA = {
    "shapes": {"image": [4, 4, 1], "point": [2]},
    "dtypes": {"image": "uint8", "point": "float32"},
    "num_classes": 2,
    "class_names": ("cat", "dog"),
    "batch_size": 8,
}


class Generator(nn.Module):
    num_outputs: int
    num_classes: int = 0

    @nn.compact
    def __call__(self, latent, label=None):
        if label is not None:
            latent = jnp.concatenate([latent, jax.nn.one_hot(label, self.num_classes)], axis=1)
        return jnp.tanh(nn.Dense(self.num_outputs)(latent))


class Discriminator(nn.Module):
    num_classes: int = 0

    @nn.compact
    def __call__(self, images, label=None):
        x = images.reshape(len(images), -1)
        if label is not None:
            x = jnp.concatenate([x, jax.nn.one_hot(label, self.num_classes)], axis=1)
        return nn.Dense(1)(jnp.tanh(nn.Dense(8)(x)))


def make_model(component=None, path="config.model", num_outputs=1, num_classes=0, **_):
    if component is None:
        return functional(Generator, num_outputs=num_outputs, num_classes=num_classes)
    return functional(Discriminator, num_classes=num_classes)


def made(metadata=None, **options):
    options = {"latent": 3, **options}
    return GAN(make_model, metadata or METADATA, Component("mine"), **options)


@cache
def started(**options):
    task = made(**options)
    variables = jax.jit(task.init)(jax.random.key(0), BATCH)
    averages = {name: average.of(variables) for name, average in task.averages.items()}
    return task, variables.replace(averages=averages)


@cache
def compiled_loss(player, task):
    players = {each.name: each for each in task.players}
    return jax.jit(players[player].loss)


def loss_of(player, task, variables):
    call = compiled_loss(player, task)
    return call(variables.params[player], variables, BATCH, jax.random.key(1))


# --- examples and latents -----------------------------------------------------------------------


def test_pixels_survive_the_way_to_the_networks_and_back():
    form = Form.of(METADATA, "image")
    pixels = np.arange(256, dtype=np.uint8).reshape(-1, 4, 4, 1)
    seen = form.seen(jnp.asarray(pixels))
    assert (float(seen.min()), float(seen.max())) == (-1, 1)
    np.testing.assert_array_equal(form.given(seen), pixels)
    np.testing.assert_array_equal(form.given(jnp.full((1, 4, 4, 1), 3.0)), 255)


def test_floating_examples_are_left_as_they_are():
    form = Form.of(METADATA, "point")
    points = jnp.asarray(RNG.standard_normal((5, 2)), jnp.float32)
    np.testing.assert_array_equal(form.given(form.seen(points)), points)


def test_the_latent_of_an_example_is_the_same_in_any_batch():
    numbers = jnp.arange(10)
    np.testing.assert_array_equal(
        numbered(numbers, 4)[jnp.array([7, 2])], numbered(jnp.array([7, 2]), 4)
    )


@pytest.mark.parametrize("threshold", [0.3, 1.0, 2.0])
def test_truncated_latents_have_the_truncated_normal_distribution(threshold):
    latents = RNG.standard_normal((2000, 3)).astype(np.float32)
    found = np.asarray(truncated(jnp.asarray(latents), jnp.float32(threshold)))
    quantiles = truncnorm(-threshold, threshold).ppf
    np.testing.assert_allclose(found, quantiles(norm.cdf(latents)), atol=2e-4)
    assert abs(found).max() <= threshold


# --- players ------------------------------------------------------------------------------------


def test_each_player_learns_with_all_of_its_parameters():
    task, variables = started()
    for player in task.players:

        def loss(params, player=player):
            return player.loss(params, variables, BATCH, jax.random.key(1))[0]

        gradients = jax.jit(jax.grad(loss))(variables.params[player.name])
        assert all(jnp.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_the_critic_is_updated_first_and_repeats():
    assert [(p.name, p.repeats) for p in made(repeats=5).players] == [
        ("discriminator", 5),
        ("generator", 1),
    ]


@pytest.mark.parametrize("every", [1, 4])
def test_penalties_are_in_the_loss_or_a_regulariser_of_their_own(every):
    task, variables = started(r1=2.0, r2=3.0, penalty_every=every)
    loss, (_, metrics) = loss_of("discriminator", task, variables)
    (player,) = (p for p in task.players if p.name == "discriminator")
    plain = loss_of("discriminator", *started())[0]
    if every == 1:
        assert player.regulariser is None
        np.testing.assert_allclose(loss, plain + metrics["r1"] + 1.5 * metrics["r2"], rtol=1e-5)
        return
    np.testing.assert_allclose(loss, plain, rtol=1e-5)
    assert player.regulariser is not None
    assert player.regulariser.every == 4
    arguments = variables.params["discriminator"], variables, BATCH, jax.random.key(1)
    penalty, (state, _) = jax.jit(player.regulariser.loss)(*arguments)
    later = loss_of("discriminator", task, variables.replace(state=state))[1][1]
    np.testing.assert_allclose(penalty, later["r1"] + 1.5 * later["r2"], rtol=1e-5)


def test_wgan_gp_adds_its_penalty():
    plain, (_, _) = loss_of("discriminator", *started(loss="wasserstein"))
    task, variables = started(loss="wasserstein", gradient_penalty=10.0)
    loss, (_, metrics) = loss_of("discriminator", task, variables)
    np.testing.assert_allclose(loss, plain + 10 * metrics["gradient_penalty"], rtol=1e-5)


def test_diversity_is_that_of_the_examples_of_a_class():
    """A generator that makes one image for each class has none, however the classes differ."""
    task, variables = started(conditional=True)
    assert loss_of("generator", task, variables)[1][1]["diversity"] > 0.05
    kernel = variables.params["generator"]["Dense_0"]["kernel"]
    blind = {
        "Dense_0": {**variables.params["generator"]["Dense_0"], "kernel": kernel.at[:3].set(0)}
    }
    collapsed = variables.replace(params={**variables.params, "generator": blind})
    assert loss_of("generator", task, collapsed)[1][1]["diversity"] < 1e-5


@pytest.mark.parametrize(
    ("half_life", "ramp", "step"), [(800, 0.0, 7), (800, 0.5, 10), (800, 0.5, 999)]
)
def test_the_average_has_the_half_life_it_is_given_in_examples(half_life, ramp, step):
    (average,) = made(average_half_life=half_life, average_ramp=ramp).averages.values()
    wanted = half_life if not ramp else min(half_life, ramp * step * 8)
    decay = float(average.decay(Time(jnp.int32(step), 1000)))
    assert decay ** (wanted / 8) == pytest.approx(0.5, rel=1e-4)


def test_with_a_ramp_the_average_begins_at_the_first_update():
    (average,) = made(average_half_life=800, average_ramp=0.05).averages.values()
    assert float(average.decay(Time(jnp.int32(0), 1000))) == 0


# --- predictions --------------------------------------------------------------------------------


def test_a_prediction_depends_on_its_own_row_alone_and_is_repeatable():
    task, variables = started(conditional=True)
    predict = jax.jit(task.predict)
    outputs = predict(variables, BATCH)
    assert outputs["image"].dtype == jnp.uint8
    assert outputs["image"].shape == (8, 4, 4, 1)
    few = {key: values[jnp.array([5, 1])] for key, values in BATCH.items()}
    again = predict(variables, few)
    np.testing.assert_array_equal(again["image"], outputs["image"][jnp.array([5, 1])])
    np.testing.assert_allclose(
        again["real_logit"], outputs["real_logit"][jnp.array([5, 1])], rtol=1e-5
    )


def test_latents_can_be_given_and_truncated():
    task, variables = started()
    latents = numbered(BATCH["example"], 3)
    predict = jax.jit(task.predict)
    plain = predict(variables, BATCH)["image"].astype(jnp.int32)
    given = predict(variables, {**BATCH, "latent": latents})["image"]
    # Two programs may round a pixel between two levels either way.
    np.testing.assert_allclose(given, plain, atol=1)
    narrow = predict(variables, {**BATCH, "truncation": jnp.float32(0.01)})["image"]
    assert jnp.ptp(narrow.astype(jnp.int32), axis=0).max() <= 4
    assert jnp.ptp(plain, axis=0).max() > 40


def test_the_average_generates_where_there_is_one():
    task, variables = started(average_half_life=100)
    zeros = jax.tree.map(jnp.zeros_like, variables.averages)
    made = jax.jit(task.predict)(variables.replace(averages=zeros), BATCH)["image"]
    np.testing.assert_array_equal(made, 128)  # tanh(0)


# --- files --------------------------------------------------------------------------------------


def test_a_png_for_each_example_and_the_classes_in_turn():
    task, variables = started(conditional=True)
    files = dict(task.generate(variables, jax.random.key(0), count=3))
    assert list(files) == ["class-0-00000.png", "class-1-00001.png", "class-0-00002.png"]
    picture = Image.open(io.BytesIO(files["class-1-00001.png"]))
    assert (picture.size, picture.mode) == ((4, 4), "L")


def test_npz_holds_all_and_is_a_function_of_the_seed_and_the_number():
    task, variables = started(conditional=True)

    def arrays(seed, count, **options):
        ((name, content),) = task.generate(
            variables, jax.random.key(seed), count=count, format="npz", **options
        )
        assert name == f"{count}.npz"
        return dict(np.load(io.BytesIO(content)))

    many = arrays(0, 130, label="dog")
    assert many["image"].shape == (130, 4, 4, 1)
    assert set(many["label"].tolist()) == {1}
    np.testing.assert_array_equal(arrays(0, 5, label="1")["image"], many["image"][:5])
    assert (arrays(1, 5, label="1")["image"] != many["image"][:5]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "dgo"}, "--label: there is no class 'dgo'.*dog"),
        ({"label": "2"}, "--label: there is no class '2'"),
        ({"format": "jpg"}, "--format: there is no 'jpg'"),
        ({"truncation": -1.0}, "--truncation=-1.0: must not be negative"),
    ],
)
def test_mistakes_in_generating_are_told(options, message):
    task, variables = started(conditional=True)
    with pytest.raises(UserError, match=message):
        list(task.generate(variables, jax.random.key(0), **options))


def test_a_network_without_classes_has_no_label_to_give():
    task, variables = started()
    with pytest.raises(UserError, match="--label: this run has learned no classes"):
        list(task.generate(variables, jax.random.key(0), label="0"))


def test_points_are_no_pictures():
    task = made(image="point")
    variables = jax.jit(task.init)(jax.random.key(0), {"point": jnp.zeros((8, 2))})
    with pytest.raises(UserError, match=r"an example is no image.*use npz"):
        list(task.generate(variables, jax.random.key(0)))


# --- health and mistakes ------------------------------------------------------------------------


def test_collapse_is_told_once_the_run_has_settled():
    task, metrics = made(), {"generator/diversity": 0.03}
    assert list(task.health(metrics, 0.01)) == []
    (line,) = task.health(metrics, 0.5)
    assert "mode collapse" in line
    assert "3%" in line
    assert list(task.health({"generator/diversity": 0.8}, 0.5)) == []


def test_logits_that_run_away_end_the_run():
    with pytest.raises(Hopeless, match="discriminator/real_logit is 2e"):
        list(made().health({"discriminator/real_logit": 2e6}, 0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hnge"}, "hinge"),
        ({"latent": 0}, "latent=0: must be at least 1"),
        ({"repeats": 0}, "repeats=0"),
        ({"r1": -1.0}, "r1=-1.0: must be at least 0"),
        ({"penalty_every": 0}, "penalty_every=0"),
        ({"path_length_shrink": 0}, "path_length_shrink=0"),
        ({"ada_images": 0.0}, "ada_images=0.0"),
        ({"average_half_life": -5.0}, "average_half_life=-5.0"),
        ({"ada": "bgd"}, "ADA has no types 'bgd'"),
        ({"diff_augment": ("color",)}, "colour"),
        ({"ada": "bgc", "diff_augment": ("colour",)}, "choose one"),
        ({"image": "imag"}, "image='imag'.*image"),
        ({"image": "point", "diff_augment": ("colour",)}, "only for images"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        made(**options)


def test_classes_need_a_source_that_has_some():
    with pytest.raises(UserError, match="conditional=True: the source has no classes"):
        made({**METADATA, "num_classes": 0}, conditional=True)


def test_a_generator_without_styles_has_no_paths():
    task = made(path_length=2.0)
    with pytest.raises(UserError, match=r"config\.task\.path_length: the generator has no styles"):
        jax.eval_shape(task.init, jax.random.key(0), BATCH)


def test_networks_of_another_size_are_told():
    class Large(Generator):
        @nn.compact
        def __call__(self, latent, label=None):
            return nn.Dense(20)(latent)

    def make(component=None, *_, **__):
        return functional(
            Large if component is None else Discriminator,
            **({"num_outputs": 1} if component is None else {}),
        )

    task = GAN(make, METADATA, Component("mine"), latent=3)
    variables = jax.jit(task.init)(jax.random.key(0), BATCH)
    with pytest.raises(UserError, match=r"config.model: it makes examples \[20\].*\[4, 4, 1\]"):
        loss_of("generator", task, variables)


def test_the_regularisers_of_both_players_have_intervals_of_their_own():
    task = made(r1=1.0, penalty_every=3, path_length=2.0, path_length_every=5)
    intervals = {p.name: p.regulariser.every for p in task.players if p.regulariser is not None}
    assert intervals == {"discriminator": 3, "generator": 5}
