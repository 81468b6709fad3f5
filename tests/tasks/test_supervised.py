"""Losses and metrics of the supervised tasks against SciPy and scikit-learn in float64."""

import jax
import numpy as np
import pytest
import scipy.special
from flax import linen as nn
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.tasks import Classification, Regression, Task

RNG = np.random.default_rng(0)
LOGITS = (3 * RNG.standard_normal((50, 7))).astype(np.float32)
LABELS = RNG.integers(0, 7, 50).astype(np.int32)
PREDICTION = RNG.standard_normal(50).astype(np.float32)
TARGET = (2 * RNG.standard_normal(50)).astype(np.float32)


class Identity(nn.Module):
    """Its input is its output, so that a test can choose what a model says."""

    num_outputs: int

    @nn.compact
    def __call__(self, x):
        self.param("unused", nn.initializers.zeros, ())
        return x


def make_model(**context):
    return functional(Identity, **context)


def loss_and_metrics(task: Task, batch):
    variables = task.init(jax.random.key(0), batch)
    (player,) = task.players
    loss, (_, metrics) = player.loss(variables.params["model"], variables, batch, jax.random.key(1))
    assert float(loss) == pytest.approx(float(metrics["loss"]))
    return {name: float(value) for name, value in metrics.items()}


def test_classification_is_softmax_cross_entropy():
    task = Classification(make_model, {"num_classes": 7})
    metrics = loss_and_metrics(task, {"image": LOGITS, "label": LABELS})
    probabilities = scipy.special.softmax(LOGITS.astype(np.float64), axis=1)
    assert metrics["loss"] == pytest.approx(log_loss(LABELS, probabilities, labels=range(7)), 1e-5)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(LABELS, LOGITS.argmax(axis=1)))


def test_smoothed_labels_give_the_formula_of_szegedy():
    task = Classification(make_model, {}, num_classes=7, label_smoothing=0.2)
    metrics = loss_and_metrics(task, {"image": LOGITS, "label": LABELS})
    log_p = scipy.special.log_softmax(LOGITS.astype(np.float64), axis=1)
    expected = -(0.8 * log_p[np.arange(50), LABELS] + 0.2 * log_p.mean(axis=1)).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_weights_of_classes_give_the_weighted_mean_of_the_losses_of_their_classes():
    weights = RNG.dirichlet(np.ones(7), 50).astype(np.float32)
    task = Classification(make_model, {}, num_classes=7, label_smoothing=0.2)
    metrics = loss_and_metrics(task, {"image": LOGITS, "label": weights})
    log_p = scipy.special.log_softmax(LOGITS.astype(np.float64), axis=1)
    expected = -(0.8 * (weights * log_p).sum(axis=1) + 0.2 * log_p.mean(axis=1)).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    # The accuracy of guesses that are right as often as the label says.
    expected = weights[np.arange(50), LOGITS.argmax(axis=1)].mean()
    assert metrics["accuracy"] == pytest.approx(expected, rel=1e-5)


def test_weights_of_one_class_are_the_same_as_its_number():
    task = Classification(make_model, {}, num_classes=7, label_smoothing=0.2)
    number = loss_and_metrics(task, {"image": LOGITS, "label": LABELS})
    weights = np.eye(7, dtype=np.float32)[LABELS]
    assert loss_and_metrics(task, {"image": LOGITS, "label": weights}) == number


def test_regression_is_mean_squared_error():
    metrics = loss_and_metrics(
        Regression(make_model), {"features": PREDICTION[:, None], "target": TARGET}
    )
    assert metrics["loss"] == pytest.approx(mean_squared_error(TARGET, PREDICTION), rel=1e-5)


def test_huber_loss_equals_scipys():
    metrics = loss_and_metrics(
        Regression(make_model, huber_delta=0.7),
        {"features": PREDICTION[:, None], "target": TARGET},
    )
    expected = scipy.special.huber(0.7, (PREDICTION - TARGET).astype(np.float64)).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(make_model, {}), "config.task.num_classes"),
        (lambda: Classification(make_model, {}, num_classes=3, label_smoothing=1), "label_smooth"),
        (
            lambda: loss_and_metrics(
                Classification(make_model, {}, num_classes=3), {"image": LOGITS, "label": LABELS}
            ),
            "its output has shape",
        ),
        (
            lambda: loss_and_metrics(
                Classification(make_model, {}, num_classes=7),
                {"image": LOGITS, "label": LOGITS[:, :6]},
            ),
            "'label' has the weights of 6 classes and the task 7; set num_classes",
        ),
        (
            lambda: loss_and_metrics(
                Classification(make_model, {}, num_classes=7),
                {"image": LOGITS, "label": LOGITS[:, 0]},
            ),
            "'label' is float32; classes are integers",
        ),
        (
            lambda: loss_and_metrics(Regression(make_model), {"image": LOGITS}),
            "config.task.inputs: examples have no 'features'; they have image",
        ),
        (
            lambda: loss_and_metrics(Regression(make_model), {"features": LOGITS[:, :1]}),
            "config.task.target: examples have no 'target'",
        ),
    ],
)
def test_what_does_not_fit_is_the_users_mistake(make, message):
    with pytest.raises(UserError, match=message):
        make()
