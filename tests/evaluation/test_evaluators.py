"""Metrics equal scikit-learn's on the whole set, whatever the batches."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
    top_k_accuracy_score,
)

from dlresearch import preemption
from dlresearch.data import evaluation_batches
from dlresearch.evaluation import ClassificationEvaluator, RegressionEvaluator
from dlresearch.tasks import Variables

RNG = np.random.default_rng(0)
VARIABLES = Variables(params={}, state={})


def outputs(variables, batch):
    return batch["outputs"]


def run(evaluator, batch_size, **arrays):
    batches = evaluation_batches(arrays, (), batch_size, slice(0, batch_size))
    return evaluator.run(outputs, VARIABLES, batches)


@pytest.mark.parametrize("batch_size", [1, 7, 300, 1000])
def test_classification_equals_scikit_learn(batch_size):
    logits = RNG.standard_normal((1000, 5)).astype(np.float32)
    labels = RNG.integers(0, 5, 1000).astype(np.int32)
    metrics = run(ClassificationEvaluator(top_k=2), batch_size, outputs=logits, label=labels)
    assert metrics["examples"] == 1000
    assert metrics["accuracy"] == accuracy_score(labels, logits.argmax(axis=1))
    assert metrics["top_2_accuracy"] == top_k_accuracy_score(labels, logits, k=2)


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_regression_equals_scikit_learn(batch_size):
    prediction = RNG.standard_normal((1000, 1)).astype(np.float32)
    target = (prediction[:, 0] + 0.5 * RNG.standard_normal(1000)).astype(np.float32)
    metrics = run(RegressionEvaluator(), batch_size, outputs=prediction, target=target)
    assert metrics["examples"] == 1000
    for name, reference in {
        "rmse": root_mean_squared_error,
        "mae": mean_absolute_error,
        "r2": r2_score,
    }.items():
        assert metrics[name] == pytest.approx(reference(target, prediction[:, 0]), rel=1e-5), name


def test_evaluation_stops_between_batches_when_told_to():
    preemption.reset()
    preemption.await_agreement()
    preemption.agree(lambda first: first + 4, "a test")
    logits = np.zeros((10, 2), np.float32)
    with pytest.raises(preemption.Preempted):
        run(ClassificationEvaluator(), 1, outputs=logits, label=np.zeros(10, np.int32))
    preemption.reset()
