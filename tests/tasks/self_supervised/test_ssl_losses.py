"""Losses against the equations of their papers, in NumPy and float64, view by view."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.tasks.self_supervised import contrastive, redundancy
from helpers.processes import on_eight_devices
from helpers.tasks.losses_on_devices import (
    LABELS,
    LOSSES,
    PAST,
    TAU,
    f32,
    losses_on_eight_devices,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(2, 5, 4))


def similarity(u, v):
    return u @ v / (np.linalg.norm(u) * np.linalg.norm(v))


def slopes(formula, *values):
    """Of a formula in float64, by central differences."""
    result = [np.zeros_like(each) for each in values]
    for which, each in enumerate(values):
        for place in np.ndindex(each.shape):
            moved = [[v.copy() for v in values] for _ in range(2)]
            moved[0][which][place] += 1e-5
            moved[1][which][place] -= 1e-5
            result[which][place] = (formula(*moved[0]) - formula(*moved[1])) / 2e-5
    return result


# --- the equations ------------------------------------------------------------------------------


def nt_xent(first, second):
    """Equation 1 and algorithm 1 of SimCLR, with views 2k - 1 and 2k of image k."""
    z = np.stack([first, second], axis=1).reshape(-1, first.shape[1])

    def of_pair(i, j):
        others = [np.exp(similarity(z[i], z[k]) / TAU) for k in range(len(z)) if k != i]
        return -np.log(np.exp(similarity(z[i], z[j]) / TAU) / np.sum(others))

    return np.mean([of_pair(i, i + 1) + of_pair(i + 1, i) for i in range(0, len(z), 2)]) / 2


def supervised_contrastive(first, second):
    """Equation 2 of Khosla et al., as a mean over views."""
    z, y = np.concatenate([first, second]), np.concatenate([LABELS, LABELS])
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        below = np.sum([np.exp(similarity(z[i], z[a]) / TAU) for a in others])
        alike = [p for p in others if y[p] == y[i]]
        total -= np.mean([np.log(np.exp(similarity(z[i], z[p]) / TAU) / below) for p in alike])
    return total / len(z)


def info_nce(queries, keys):
    """Equation 1 of MoCo, with one positive and all of the queue."""
    losses = []
    for q, k in zip(queries, keys, strict=True):
        positive = np.exp(similarity(q, k) / TAU)
        negative = np.sum([np.exp(similarity(q, old) / TAU) for old in PAST])
        losses.append(-np.log(positive / (positive + negative)))
    return np.mean(losses)


def in_batch_info_nce(queries, keys):
    """Equation 2 of NNCLR, without the neighbours."""
    losses = []
    for i, q in enumerate(queries):
        below = np.sum([np.exp(similarity(q, k) / TAU) for k in keys])
        losses.append(-np.log(np.exp(similarity(q, keys[i]) / TAU) / below))
    return np.mean(losses)


def barlow_twins(first, second):
    """Equations 1 and 2 of Barlow Twins."""
    a, b = first - first.mean(0), second - second.mean(0)
    size, loss = a.shape[1], 0.0
    for i in range(size):
        for j in range(size):
            below = np.sqrt(np.sum(a[:, i] ** 2)) * np.sqrt(np.sum(b[:, j] ** 2))
            correlation = np.sum(a[:, i] * b[:, j]) / below
            loss += (1 - correlation) ** 2 if i == j else 0.005 * correlation**2
    return loss


def vicreg(first, second):
    """Equations 1 to 6 of VICReg; 5 divided by the number of features, as in its algorithm 1."""
    count, size = first.shape

    def v(z):
        return np.mean([max(0, 1 - np.sqrt(np.var(z[:, j], ddof=1) + 1e-4)) for j in range(size)])

    def c(z):
        covariance = np.cov(z, rowvar=False)
        return np.sum(covariance**2 - np.diag(np.diag(covariance)) ** 2) / size

    s = np.sum((first - second) ** 2) / count / size
    return 25 * s + 20 * (v(first) + v(second)) + 2 * (c(first) + c(second))


def byol(predictions, targets):
    """Equation 2 of BYOL."""
    pairs = zip(predictions, targets, strict=True)
    difference = [q / np.linalg.norm(q) - z / np.linalg.norm(z) for q, z in pairs]
    return np.mean(np.sum(np.square(difference), axis=1))


FORMULAS = {
    "nt_xent": nt_xent,
    "supervised_contrastive": supervised_contrastive,
    "info_nce": info_nce,
    "in_batch_info_nce": in_batch_info_nce,
    "moco_v3": lambda a, b: 2 * TAU * in_batch_info_nce(a, b),
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
    "byol": byol,
    "simsiam": lambda p, z: -np.mean([similarity(*pair) for pair in zip(p, z, strict=True)]),
}


@cache
def compiled(name):
    """The loss and its gradients by both views; once compiled, for all tests here."""
    return jax.jit(jax.value_and_grad(LOSSES[name], argnums=(0, 1)))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_slopes_are_those_of_the_paper(name):
    formula = FORMULAS[name]
    value, gradients = compiled(name)(*f32(FIRST, SECOND))
    assert value.shape == () and value.dtype == jnp.float32
    assert value == pytest.approx(formula(FIRST, SECOND), rel=1e-5)
    for gradient, slope in zip(gradients, slopes(formula, FIRST, SECOND), strict=True):
        np.testing.assert_allclose(gradient, slope, atol=1e-5 * max(1, np.max(np.abs(slope))))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_slopes_are_finite_where_all_is_the_same(name):
    """Collapsed codes, and codes that are zero."""
    for codes in (jnp.ones((5, 4)), jnp.zeros((5, 4))):
        value, gradients = compiled(name)(codes, codes)
        assert np.isfinite(value) and np.all(np.isfinite(gradients))


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_compared_in_float32(name):
    half = [each.astype(jnp.bfloat16) for each in f32(FIRST, SECOND)]
    full = [each.astype(jnp.float32) for each in half]
    value, _ = compiled(name)(*full)
    # Two programs may round float32 in two ways; in bfloat16 the loss would be 1e-3 off.
    assert jax.jit(LOSSES[name])(*half) == pytest.approx(value.item(), rel=1e-5)


PAIRED = {
    "nt_xent": lambda a, b: contrastive.nt_xent(a, b, TAU)[1],
    "supervised_contrastive": (
        lambda a, b: contrastive.supervised_contrastive(a, b, jnp.arange(len(a)), TAU)[1]
    ),
    "info_nce": lambda a, b: contrastive.info_nce(a, b, 0.9 * jnp.eye(4), TAU)[1],
    "in_batch_info_nce": lambda a, b: contrastive.in_batch_info_nce(a, b, TAU)[1],
}


@pytest.mark.parametrize("name", PAIRED)
def test_accuracy_is_the_share_of_rows_whose_positive_is_closest(name):
    accuracy, codes = jax.jit(PAIRED[name]), np.eye(4, dtype=np.float32)
    near = codes + np.float32(0.01)
    assert accuracy(near, codes) == 1
    assert accuracy(near, np.roll(codes, 1, axis=0)) == 0
    assert accuracy(near, codes[[0, 1, 3, 2]]) == 0.5


def test_views_of_a_class_are_positives_of_one_another():
    loss = jax.jit(partial(contrastive.supervised_contrastive, temperature=TAU))
    labels = np.array([0, 0, 1, 1])
    codes = np.eye(2, dtype=np.float32)[labels]
    assert loss(codes, codes, labels)[1] == 1
    assert loss(codes, codes, np.array([0, 1, 0, 1]))[1] == 0


def test_parts_are_named_beside_the_loss():
    views = f32(FIRST, SECOND)
    loss, parts = jax.jit(lambda *views: redundancy.vicreg(*views, 25.0, 20.0, 2.0))(*views)
    weighted = 25 * parts["invariance"] + 20 * parts["variance"] + 2 * parts["covariance"]
    assert loss == pytest.approx(weighted)
    loss, parts = jax.jit(lambda *views: redundancy.barlow_twins(*views, 0.005))(*views)
    assert loss == pytest.approx(parts["invariance"] + 0.005 * parts["redundancy"])


@pytest.mark.parametrize(
    "name", [name for name in LOSSES if name not in ("info_nce", "byol", "simsiam")]
)
def test_a_batch_of_one_image_is_refused(name):
    with pytest.raises(UserError, match=r"^config\.batch_size: .* two images or more"):
        LOSSES[name](*f32(FIRST[:1], SECOND[:1]))


# --- on several devices -------------------------------------------------------------------------


@pytest.mark.slow
def test_eight_devices_have_the_losses_and_slopes_of_one():
    """Rows are split, and the negatives, correlations and codes are those of the whole batch."""
    found = on_eight_devices(losses_on_eight_devices)
    assert found.keys() == {*LOSSES, "sinkhorn"}
    for name, one in found.items():
        # Sums in another order: some ten units in the last place of float32.
        assert one["value"] < 1e-5 and one["slopes"] < 1e-5, (name, one)
        assert one["alone"] > 1e-3 or name in ("byol", "simsiam", "info_nce"), name
