"""What all methods share: the probe, the features, the target, the figures that tell a collapse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import component, default_config, validate
from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised.collapse import relative_deviation, uniformity
from dlresearch.tasks import Time
from dlresearch.tasks.self_supervised import collapse
from dlresearch.tasks.self_supervised.target import rising
from dlresearch.training.models import make_task

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.standard_normal((8, 4, 4, 1)), jnp.float32)
BATCH = {
    "image": IMAGES,
    "first_view": IMAGES + 0.1,
    "second_view": IMAGES[:, :, ::-1],
    "label": jnp.arange(8) % 3,
}
KEY = jax.random.key(0)
spread = jax.jit(collapse.spread)


def made(name="simclr", classes=3, **arguments):
    config = default_config()
    config.model = component("mlp", hidden=(6,))
    config.task = component(name, projector=(8, 5), **arguments)
    return make_task(validate(config), {"num_classes": classes} if classes else {})


def gradients(task):
    variables = started(task).replace(time=Time(jnp.int32(0), 10))
    loss = jax.grad(task.players[0].loss, has_aux=True)
    return jax.jit(loss)(variables.params["model"], variables, BATCH, KEY)


def started(task):
    return jax.jit(task.init)(KEY, BATCH)


@pytest.mark.slow
def test_the_probe_learns_and_the_backbone_does_not_notice():
    found, (_, metrics) = gradients(made())
    alone, (_, without) = gradients(made(probe=False))
    assert "probe" in found and "probe" not in alone
    assert float(jnp.abs(found["probe"]["kernel"]).max()) > 0
    for network in ("backbone", "projector"):
        for leaf, other in zip(
            *map(jax.tree.leaves, (found[network], alone[network])), strict=True
        ):
            # Two programs may round in two ways: some units in the last place of the largest.
            np.testing.assert_allclose(leaf, other, atol=1e-5 * np.abs(other).max())
    assert metrics["loss"] == pytest.approx(without["loss"].item(), rel=1e-5)
    assert {"probe_loss", "probe_accuracy"} == metrics.keys() - without.keys()


def test_a_source_without_classes_trains_no_probe():
    task = made(classes=None)
    variables = jax.eval_shape(task.init, KEY, BATCH)
    assert variables.params["model"].keys() == {"backbone", "projector"}
    assert jax.eval_shape(task.features, variables, BATCH).shape == (8, 6)
    with pytest.raises(UserError, match="without an online probe nothing predicts classes"):
        jax.eval_shape(task.predict, variables, BATCH)


def test_predictions_are_those_of_the_probe_on_the_features_of_images():
    task = made()
    variables = started(task)

    @jax.jit
    def both(variables):
        return task.features(variables, BATCH), task.predict(variables, BATCH)

    probe, (features, logits) = variables.params["model"]["probe"], both(variables)
    expected = np.asarray(features) @ probe["kernel"] + probe["bias"]
    # Sums of six products of order 1 in float32.
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_batch_without_views_is_refused():
    with pytest.raises(UserError, match=r"config\.data\.views\.first: there are no views"):
        jax.eval_shape(made().init, KEY, {"image": IMAGES, "label": BATCH["label"]})


@pytest.mark.parametrize("factor", [1.0, 1e-3])
def test_spread_follows_its_formulas(factor):
    """The smaller the factor, the more codes are alike."""
    first, second = (1 + factor * RNG.standard_normal((2, 12, 5))).astype(np.float32)
    found = {name: float(value) for name, value in spread(first, second).items()}
    points = first / np.linalg.norm(first, axis=1, keepdims=True)
    others = second / np.linalg.norm(second, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(np.cov(points.astype(np.float64).T))
    assert found["deviation"] == pytest.approx(relative_deviation(first), rel=1e-3)
    assert found["uniformity"] == pytest.approx(uniformity(first), abs=1e-4)
    assert found["alignment"] == pytest.approx(
        ((points - others) ** 2).sum(axis=1).mean(), rel=1e-3, abs=1e-6
    )
    if factor == 1:
        assert found["dimensions"] == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-3)


def test_codes_that_are_all_the_same_are_warned_of_and_others_are_not():
    task = made()
    same = jnp.ones((6, 4))
    metrics = {name: float(value) for name, value in spread(same, same).items()}
    assert all(np.isfinite(value) for value in metrics.values())
    (line,) = task.health(metrics, progress=0.5)
    assert line.startswith("warning: the codes collapse")
    assert not list(task.health(metrics, progress=0.01))  # networks begin so
    codes = jnp.eye(6)
    assert not list(task.health(jax.tree.map(float, spread(codes, codes)), 0.5))


@pytest.mark.parametrize(("step", "expected"), [(0, 0.9), (50, 0.95), (100, 1.0)])
def test_momentum_rises_on_a_cosine(step, expected):
    assert float(rising(0.9)(Time(jnp.int32(step), 100))) == pytest.approx(expected)


def test_the_target_begins_as_the_network_and_gives_no_gradient():
    task = made("byol", predictor=(8, 5))
    variables = started(task).replace(time=Time(jnp.int32(0), 10))
    (average,) = task.averages.values()
    target = average.of(variables)
    assert target["params"]["model"].keys() == {"backbone", "projector"}

    def loss(target):
        own = variables.replace(averages={"target": target})
        return task.players[0].loss(own.params["model"], own, BATCH, KEY)[0]

    assert all(
        float(jnp.abs(g).max()) == 0 for g in jax.tree.leaves(jax.jit(jax.grad(loss))(target))
    )


def test_a_predictor_that_ends_in_another_size_is_refused():
    with pytest.raises(UserError, match=r"predictor=\(8, 4\): must end in the size of a code"):
        made("byol", predictor=(8, 4))


def test_codes_that_are_spread_evenly_have_a_deviation_of_one():
    codes = jnp.asarray(RNG.standard_normal((2000, 16)), jnp.float32)
    assert float(spread(codes, codes)["deviation"]) == pytest.approx(1, abs=0.02)
