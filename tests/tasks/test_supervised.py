"""Losses and metrics of the supervised tasks against SciPy and scikit-learn in float64."""

import jax
import numpy as np
import pytest
import scipy.special
from flax import linen as nn
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.tasks import Classification, Regression, SequenceClassification, Task

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


class Sum(nn.Module):
    """Of what it reads, the second as often as `vocabulary_size` says."""

    num_outputs: int
    vocabulary_size: int = 1

    @nn.compact
    def __call__(self, first, second):
        self.param("unused", nn.initializers.zeros, ())
        return first + self.vocabulary_size * second


def test_a_model_may_read_several_keys_in_their_order():
    batch = {"a": LOGITS, "b": 2 * LOGITS, "label": LABELS}
    task = Classification(
        lambda **context: functional(Sum, vocabulary_size=3, **context),
        {"num_classes": 7},
        inputs=("a", "b"),
    )
    outputs = task.predict(task.init(jax.random.key(0), batch), batch)
    np.testing.assert_allclose(outputs, 7 * LOGITS, rtol=1e-6)
    with pytest.raises(UserError, match=r"config\.task\.inputs: examples have no 'b'"):
        task.predict(task.init(jax.random.key(0), batch), {"a": LOGITS})


def test_model_of_texts_gets_the_size_of_their_vocabulary():
    metadata = {"num_classes": 7, "vocabularies": {"tokens": range(5)}}
    task = SequenceClassification(lambda **context: functional(Sum, **context), metadata)
    batch = {"tokens": LOGITS, "length": LOGITS, "label": LABELS}
    outputs = task.predict(task.init(jax.random.key(0), batch), batch)
    np.testing.assert_allclose(outputs, 6 * LOGITS, rtol=1e-6)


def test_texts_without_a_vocabulary_are_a_mistake():
    with pytest.raises(UserError, match=r"config\.task\.inputs: .* no vocabulary for 'tokens'"):
        SequenceClassification(make_model, {"num_classes": 7})


@pytest.mark.parametrize("huber_delta", [None, 1.0])
def test_several_targets_count_as_their_mean(huber_delta):
    targets = np.stack([TARGET, -TARGET], axis=1)
    predictions = np.stack([PREDICTION, PREDICTION], axis=1)
    task = Regression(make_model, num_targets=2, huber_delta=huber_delta)
    metrics = loss_and_metrics(task, {"features": predictions, "target": targets})
    error = (predictions - targets).astype(np.float64)
    squared = mean_squared_error(targets, predictions)
    loss = squared if huber_delta is None else scipy.special.huber(1.0, error).mean()
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["squared_error"] == pytest.approx(squared, rel=1e-5)


@pytest.mark.parametrize("num_targets", [None, 3])
def test_number_of_targets_that_the_examples_do_not_have_is_a_mistake(num_targets):
    task = Regression(make_model, num_targets=num_targets)
    batch = {"features": LOGITS[:, :2], "target": LOGITS[:, :2]}
    with pytest.raises(UserError, match=r"config\.task\.target: 'target' has shape \[50, 2\]"):
        loss_and_metrics(task, batch)
