"""Losses for rare classes against the formulas of PyTorch and the papers, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import linen as nn

from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.tasks import Classification

RNG = np.random.default_rng(0)
COUNTS = (60, 30, 10)
LABELS = np.repeat(np.arange(3), COUNTS).astype(np.int32)
LOGITS = (2 * RNG.standard_normal((100, 3))).astype(np.float32)
SHARES = RNG.dirichlet(np.ones(3), 100).astype(np.float32)
WEIGHTS = np.array([1.0, 2.0, 7.0])
LOG_P = scipy.special.log_softmax(LOGITS.astype(np.float64), axis=1)
OWN = np.arange(100), LABELS


class Identity(nn.Module):
    """Its input is its output, so that a test can choose what a model says."""

    num_outputs: int

    @nn.compact
    def __call__(self, x):
        self.param("unused", nn.initializers.zeros, ())
        return x


def make_model(**context):
    return functional(Identity, **context)


def loss_and_metrics(task, batch):
    variables = task.init(jax.random.key(0), batch)
    (player,) = task.players
    _, (_, metrics) = player.loss(variables.params["model"], variables, batch, jax.random.key(1))
    return {name: float(value) for name, value in metrics.items()}


def loss(label=LABELS, logits=LOGITS, **options):
    task = Classification(make_model, {"num_classes": 3, "class_counts": COUNTS}, **options)
    return loss_and_metrics(task, {"image": logits, "label": label})["loss"]


def test_weights_over_the_whole_set_give_the_weighted_mean_of_pytorch():
    """torch.nn.CrossEntropyLoss(weight): the sum of w loss, divided by that of w."""
    weights = WEIGHTS[LABELS]
    expected = (weights * -LOG_P[OWN]).sum() / weights.sum()
    assert loss(class_weights=tuple(WEIGHTS)) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(2.4871924, rel=1e-6)  # what torch 2.13 itself gives


def test_weights_with_smoothing_are_those_of_pytorch():
    """Its `label_smoothing`: each class's share of the target has the weight of that class."""
    own, all_ = (WEIGHTS[LABELS] * -LOG_P[OWN]).sum(), (WEIGHTS * -LOG_P).sum() / 3
    expected = (0.9 * own + 0.1 * all_) / WEIGHTS[LABELS].sum()
    found = loss(class_weights=tuple(WEIGHTS), label_smoothing=0.1)
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(2.5845892, rel=1e-6)  # torch 2.13


def test_only_ratios_of_weights_matter():
    assert loss(class_weights=(1.0, 2.0, 7.0)) == pytest.approx(loss(class_weights=(10, 20, 70)))


def test_balanced_weights_make_classes_count_the_same():
    expected = np.mean([-LOG_P[each == LABELS, each].mean() for each in range(3)])
    assert loss(class_weights="balanced") == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_parts():
    """So that devices and microbatches do not change it; the mean of PyTorch would fail."""
    options = {"class_weights": "balanced", "focal_gamma": 2.0, "logit_adjustment": 1.0}
    parts = [loss(LABELS[i::2], LOGITS[i::2], **options) for i in range(2)]
    assert np.mean(parts) == pytest.approx(loss(**options), rel=1e-6)


def test_mixed_labels_are_weighted_by_their_shares():
    mean = np.dot(WEIGHTS, COUNTS) / 100
    expected = -(WEIGHTS / mean * SHARES * LOG_P).sum(axis=1).mean()
    assert loss(SHARES, class_weights=tuple(WEIGHTS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_equation_4_of_lin(gamma):
    p = np.exp(LOG_P[OWN])
    expected = -((1 - p) ** gamma * np.log(p)).mean()
    assert loss(focal_gamma=gamma) == pytest.approx(expected, rel=1e-5)
    mixed = -(SHARES * (1 - np.exp(LOG_P)) ** gamma * LOG_P).sum(axis=1).mean()
    assert loss(SHARES, focal_gamma=gamma) == pytest.approx(mixed, rel=1e-5)


def test_logit_adjustment_is_equation_10_of_menon():
    prior = np.array(COUNTS) / 100
    shifted = LOGITS.astype(np.float64) + 1.5 * np.log(prior)
    expected = -(shifted[OWN] - scipy.special.logsumexp(shifted, axis=1)).mean()
    assert loss(logit_adjustment=1.5) == pytest.approx(expected, rel=1e-5)


def test_adjusted_logits_are_those_of_training_alone():
    task = Classification(
        make_model, {"num_classes": 3, "class_counts": COUNTS}, logit_adjustment=9.0
    )
    batch = {"image": LOGITS, "label": LABELS}
    variables = task.init(jax.random.key(0), batch)
    np.testing.assert_array_equal(task.predict(variables, batch), LOGITS)
    accuracy = loss_and_metrics(task, batch)["accuracy"]
    assert accuracy == pytest.approx((LOGITS.argmax(axis=1) == LABELS).mean())


def test_all_together_are_one_formula():
    prior = np.array(COUNTS) / 100
    log_p = scipy.special.log_softmax(LOGITS.astype(np.float64) + np.log(prior), axis=1)
    q = 0.9 * np.eye(3)[LABELS] + 0.1 / 3
    weights = 100 / (3 * np.array(COUNTS))
    expected = -(weights * q * (1 - np.exp(log_p)) ** 2 * log_p).sum(axis=1).mean()
    found = loss(
        class_weights="balanced", focal_gamma=2.0, logit_adjustment=1.0, label_smoothing=0.1
    )
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradient_of_the_focal_loss_is_finite_where_nothing_is_left_to_learn(gamma):
    task = Classification(make_model, {"num_classes": 3}, focal_gamma=gamma)
    label = jnp.array([0, 0, 1])
    sure = jnp.array([[100.0, 0, 0], [20.0, 0, 0], [1000.0, 0, 0]])
    gradient = jax.grad(lambda x: task.losses(x, {"label": label})[0].sum())(sure)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0]).max() < 1e-6 and np.abs(gradient[2]).max() > 0.9


def test_the_users_counts_stand_in_for_those_of_the_source():
    task = Classification(
        make_model, {"num_classes": 3}, class_weights="balanced", class_counts=COUNTS
    )
    found = loss_and_metrics(task, {"image": LOGITS, "label": LABELS})["loss"]
    assert found == pytest.approx(loss(class_weights="balanced"))


KNOWN = {"num_classes": 3, "class_counts": COUNTS}


@pytest.mark.parametrize(
    ("metadata", "options", "message"),
    [
        ({"num_classes": 3}, {"class_weights": "balanced"}, "config.task.class_counts: .* set it"),
        ({"num_classes": 3}, {"logit_adjustment": 1.0}, "config.task.class_counts: .* set it"),
        (KNOWN, {"class_weights": "balancd"}, "config.task.class_weights: .*mean 'balanced'"),
        (KNOWN, {"class_weights": (1.0, 2.0)}, "config.task.class_weights: .* each of 3 classes"),
        (KNOWN, {"class_weights": (1.0, -2.0, 1.0)}, "config.task.class_weights: .* 0 or more"),
        (KNOWN, {"class_weights": (0.0, 0.0, 0.0)}, "config.task.class_weights: .* any weight"),
        (KNOWN, {"class_weights": (1.0, 1.0, np.nan)}, "config.task.class_weights"),
        (KNOWN, {"focal_gamma": -1.0}, "config.task.focal_gamma: -1.0 is negative"),
        (KNOWN, {"logit_adjustment": -1.0}, "config.task.logit_adjustment: -1.0 is negative"),
        (
            KNOWN,
            {"class_weights": "balanced", "class_counts": (5, 5)},
            "config.task.class_counts: .* 3 classes",
        ),
        (
            {"num_classes": 3, "class_counts": (5, 0, 5)},
            {"class_weights": "balanced"},
            "config.task.class_weights: class 1 has no training example",
        ),
        (
            {"num_classes": 3, "class_counts": (5, 0, 5)},
            {"logit_adjustment": 1.0},
            "config.task.logit_adjustment: class 1 has no training example",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_setting(metadata, options, message):
    with pytest.raises(UserError, match=message) as error:
        Classification(make_model, metadata, **options)
    assert "\n" not in str(error.value)
